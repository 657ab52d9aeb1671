"""The text of `--policies` for a repository: what it means, and what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz_sidecar.sources.remote import RemoteError, is_remote, parse_remote


@pytest.mark.parametrize(
    ("text", "repository", "ref", "folder"),
    [
        ("git+file:///srv/p.git", "file:///srv/p.git", "", ""),
        ("git+file://localhost/srv/a%20b?ref=main", "file:///srv/a%20b", "main", ""),
        ("git+https://h.example/o/p.git?ref=main&path=a/b/", "https://h.example/o/p.git", "main", "a/b"),
        ("git+https://h.example:8443/p?path=.&ref=refs/tags/v1", "https://h.example:8443/p", "refs/tags/v1", ""),
        ("git+ssh://git@h.example/~me/p.git?ref=feature/x%2By", "ssh://git@h.example/~me/p.git", "feature/x+y", ""),
        ("git+ssh://h:2222/p", "ssh://h:2222/p", "", ""),
        ("git+http://127.0.0.1:3000/p", "http://127.0.0.1:3000/p", "", ""),
        ("git+http://[::1]/p", "http://[::1]/p", "", ""),
        ("git+http://localhost/p", "http://localhost/p", "", ""),
    ],
)
def test_a_url_is_read(text: str, repository: str, ref: str, folder: str) -> None:
    """Its parts come apart, and what is written from them reads the same again."""
    remote = parse_remote(text)
    assert (remote.repository, remote.ref, remote.folder) == (repository, ref, folder)
    assert parse_remote(str(remote)) == remote


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("https://h/p", "policies cannot be served from `https://`"),
        ("git+svn://h/p", "policies cannot be served from `git+svn://`"),
        ("git+https://user:secret@h/p", "holds a user or a password"),
        ("git+https://secret@h/p", "holds a user or a password"),
        ("git+ssh://git:secret@h/p", "holds a user or a password"),
        ("git+ftp://secret@h/p", "holds a user or a password"),
        ("git+ssh://-oProxyCommand=x/p", "is not a host"),
        ("git+ssh://-x@h/p", "the user in the URL"),
        ("git+ssh://a%20b@h/p", "the user in the URL"),
        ("git+https:///p", "the URL names no host"),
        ("git+https://h_/p", "is not a host"),
        ("git+https://h", "names no repository"),
        ("git+https://h/", "names no repository"),
        ("git+https://h:0x/p", "cannot be read"),
        ("git+https://h:99999/p", "cannot be read"),
        ("git+https://[::1/p", "cannot be read"),
        ("git+file://h/p", "`git+file` names the host `h`"),
        ("git+ssh://h/a%00b", "the path of the repository"),
        ("git+ssh://h/a%0ab", "the path of the repository"),
        ("git+ssh://h/%ff", "the path of the repository"),
        ("git+https://h/p#main", "holds a `#`"),
        ("git+https://h/a b", "a character that a URL cannot hold"),
        ("git+https://h/p?ref", "what follows the `?`"),
        ("git+https://h/p?branch=main", "has no parameter `branch`"),
        ("git+https://h/p?ref=a&ref=b", "gives `ref` twice"),
        ("git+https://h/p?ref=", "can be neither a branch"),
        ("git+https://h/p?ref=-x", "can be neither a branch"),
        ("git+https://h/p?ref=a..b", "can be neither a branch"),
        ("git+https://h/p?ref=a%0Ab", "can be neither a branch"),
        ("git+https://h/p?ref=a.lock", "can be neither a branch"),
        ("git+https://h/p?path=../x", "is not a folder of the repository"),
        ("git+https://h/p?path=a/%2e%2e/b", "is not a folder of the repository"),
        ("git+https://h/p?path=/etc", "is not a folder of the repository"),
        ("git+https://h/p?path=a//b", "is not a folder of the repository"),
        ("git+https://h/p?path=a%5Cb", "is not a folder of the repository"),
        ("git+http://h/p", "is neither encrypted nor authenticated"),
        ("git+http://127.example/p", "is neither encrypted nor authenticated"),
    ],
)
def test_a_malformed_url_is_refused(text: str, said: str) -> None:
    """Each part that is wrong is named, with a remedy, and nothing that may be a secret is repeated."""
    with pytest.raises(RemoteError) as caught:
        parse_remote(text)
    assert said in caught.value.message
    assert caught.value.help
    assert "secret" not in caught.value.message + caught.value.help


def test_plain_http_can_be_allowed() -> None:
    """Whoever says so gets it."""
    assert parse_remote("git+http://h/p", insecure=True).scheme == "http"


@pytest.mark.parametrize("text", ["policies", "./a", "/srv/policies", "git", "a+b", "..", "C:policies"])
def test_a_directory_is_no_url(text: str) -> None:
    """What has no scheme and no prefix is a directory."""
    assert not is_remote(text)


@given(st.text(max_size=40), st.sampled_from(["git+https://h/p?ref={}", "git+ssh://{}", "git+file:///{}", "git+{}"]))
def test_whatever_is_read_is_safe_to_use(text: str, form: str) -> None:
    """Any text is refused with an error of ours, or gives a host, a user and a ref that no program takes for an option
    and a folder that does not leave the repository."""
    try:
        remote = parse_remote(form.format(text), insecure=True)
    except RemoteError:
        return
    assert not remote.host.startswith("-")
    assert not remote.user.startswith("-")
    assert not remote.ref.startswith("-")
    assert remote.path.startswith("/")
    assert remote.path.isprintable()
    assert ".." not in remote.folder.split("/")
    assert str(remote).isascii()
