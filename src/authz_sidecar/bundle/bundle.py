"""A bundle: everything that one directory of policy text says, read and checked, before it is compiled."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import msgspec

from authz_sidecar.bundle.definitions import Assignment, DataDomain, Flag, GroupMapping, Manifest, Role
from authz_sidecar.bundle.policy_tests import PolicyTest
from authz_sidecar.model.model import Model
from authz_sidecar.values.rule import RuleTable

if TYPE_CHECKING:
    # Made for bundles that have gates only; see `parse`.
    from authz_sidecar.bundle.gates import Gate, GatesFile


class Bundle(msgspec.Struct, frozen=True, kw_only=True):
    """A checked bundle.

    `tables` has one table for every ptype and role definition of the model, empty where there are no rows.
    `role_matching`, `domain_matching` and `link_conditions` map names of role definitions to functions. `gates_file`
    is None where there is no `gates.yaml`.
    The definitions are empty in a plain Casbin bundle; their spans tell where each was written.
    """

    name: str
    form: Literal["casbin", "yaml"]
    model: Model
    tables: dict[str, RuleTable]
    manifest: Manifest
    role_matching: Mapping[str, str] = {}
    domain_matching: Mapping[str, str] = {}
    link_conditions: Mapping[str, str] = {}
    tests: tuple[PolicyTest, ...] = ()
    roles: Mapping[str, Role] = {}
    data_domains: Mapping[str, DataDomain] = {}
    flags: Mapping[str, Flag] = {}
    assignments: tuple[Assignment, ...] = ()
    group_mappings: tuple[GroupMapping, ...] = ()
    gates_file: "GatesFile | None" = None

    @property
    def gates(self) -> "tuple[Gate, ...]":
        """The gates of its `gates.yaml`, in their order."""
        return tuple(self.gates_file.gates) if self.gates_file is not None else ()

    @property
    def rule_count(self) -> int:
        """How many rows all tables hold together."""
        return sum(map(len, self.tables.values()))
