"""The identities of a directory beside changes of the policies: who is concerned, and what is told of versions."""
