"""Operations on identities and on what they hold, each one transaction under the rules that the bundle sets."""
