"""What the tests of the commands share: a small bundle and the shapes of their fixtures."""

import subprocess
from collections.abc import Callable
from pathlib import Path

RBAC_MODEL = """\
[request_definition]
r = sub, obj, act
[policy_definition]
p = sub, obj, act
[role_definition]
g = _, _
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = g(r.sub, p.sub) && r.obj == p.obj && r.act == p.act
"""
RBAC_POLICY = """\
p, alice, folder:1, read
p, bob, folder:2, write
p, editor, folder:2, read
p, author, folder:2, delete
g, alice, editor
g, editor, author
"""


Run = Callable[..., subprocess.CompletedProcess[str]]
WriteBundle = Callable[..., Path]
