"""The manifests: valid by Kubernetes' schemas, and in agreement with the server that they run."""

import os
import re
import subprocess
from pathlib import Path, PurePosixPath
from typing import Any

import kubernetes_validate
import pytest
import yaml
from click.testing import CliRunner

from authz_sidecar.cli.main import cli
from authz_sidecar.transports.address import Address
from tests.deploy.serve_options import read_options

FOLDER = Path(__file__).parents[2] / "deploy" / "kubernetes"
# Sidecar containers, which the manifests use, are on by default since 1.29.
OLDEST = "1.29"
NEWEST = kubernetes_validate.latest_version().rpartition(".")[0]
NODE_IP = "192.0.2.7"

Manifest = dict[str, Any]


def read_manifests(name: str) -> list[Manifest]:
    """The objects in one file."""
    return [found for found in yaml.safe_load_all((FOLDER / name).read_text()) if found]


def merged(base: Any, patch: Any) -> Any:
    """`base` after a strategic merge patch, as far as ours goes: lists of named things merge by name, others are
    replaced."""
    if isinstance(base, dict) and isinstance(patch, dict):
        return base | {key: merged(base[key], value) if key in base else value for key, value in patch.items()}
    if isinstance(base, list) and isinstance(patch, list) and patch and isinstance(patch[0], dict):
        patches = {item["name"]: item for item in patch}
        kept = [merged(item, patches.pop(item["name"], {})) for item in base]
        return kept + list(patches.values())
    return patch


def read_all() -> dict[str, list[Manifest]]:
    """Every object by the file that it comes from; what the patch makes of the sidecar counts as one more file."""
    found = {path.name: read_manifests(path.name) for path in sorted(FOLDER.glob("*.yaml"))}
    (patch,) = found.pop("metrics-patch.yaml")
    sidecar = [merged(manifest, patch) for manifest in found["sidecar.yaml"]]
    return found | {"sidecar.yaml, patched": sidecar + found["metrics.yaml"]}


MANIFESTS = read_all()
OBJECTS = [(name, manifest) for name, manifests in MANIFESTS.items() for manifest in manifests]
PODS = {name: manifest["spec"]["template"] for name, manifest in OBJECTS if manifest["kind"] == "Deployment"}
every_pod = pytest.mark.parametrize("name", PODS)


def containers(pod: Manifest) -> list[Manifest]:
    """All containers of a pod."""
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


def sidecar_of(pod: Manifest) -> Manifest:
    """The container that runs authz-sidecar."""
    (found,) = [container for container in containers(pod) if container["name"] == "authz-sidecar"]
    return found


def options_of(container: Manifest) -> dict[str, Any]:
    """What the server makes of the container's arguments and environment."""
    settings = {
        found["name"]: found.get("value", "").replace("$(POD_IP)", NODE_IP) for found in container.get("env", [])
    }
    return read_options(container["args"], settings)


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize(
    "manifest",
    [pytest.param(found, id=f"{found['kind']} of {name}") for name, found in OBJECTS if found["kind"] != "PodMonitor"],
)
def test_every_manifest_is_valid(manifest: Manifest, version: str) -> None:
    """Each object passes the strict schema of the oldest Kubernetes that has sidecar containers, and of the newest."""
    assert kubernetes_validate.validate(manifest, version, strict=True) == version


def test_a_misspelt_field_is_found() -> None:
    """The schemas are strict: a name that they do not know is refused."""
    (deployment,) = [found for found in read_manifests("central.yaml") if found["kind"] == "Deployment"]
    deployment["spec"]["template"]["spec"]["containers"][0]["readinesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="readinesProbe"):
        kubernetes_validate.validate(deployment, OLDEST, strict=True)


def test_all_ways_to_deploy_are_tested() -> None:
    """The facts below are asked of four Deployments."""
    assert set(PODS) == {"sidecar.yaml", "sidecar.yaml, patched", "sidecar-configmap.yaml", "central.yaml"}


@every_pod
def test_every_container_is_confined(name: str) -> None:
    """No container is root, gains privileges, has capabilities or writes to its image; all have bounded memory."""
    pod = PODS[name]
    assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
    assert pod["spec"]["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["spec"]["automountServiceAccountToken"] is False
    for container in containers(pod):
        context = container["securityContext"]
        assert context["runAsUser"] > 0
        assert context["readOnlyRootFilesystem"] is True
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
        assert "memory" in container["resources"]["limits"]


@every_pod
def test_the_sidecar_is_probed_where_it_listens(name: str) -> None:
    """Kubelet's own probes reach the address of the pod alone: where HTTP listens elsewhere, a program in the container
    asks."""
    container = sidecar_of(PODS[name])
    http: Address = options_of(container)["http"]
    ports = {port["name"]: port["containerPort"] for port in container.get("ports", [])}
    for probe, path in (("startupProbe", "/readyz"), ("readinessProbe", "/readyz"), ("livenessProbe", "/healthz")):
        if "exec" in container[probe]:
            assert container[probe]["exec"]["command"] == ["authz-sidecar-probe", path]
            in_environment = any(found["name"] == "AUTHZ_HTTP" for found in container.get("env", []))
            assert in_environment or str(http) == "127.0.0.1:8080", "the probe asks elsewhere"
        else:
            assert not http.is_local
            assert container[probe]["httpGet"]["path"] == path
            assert ports[container[probe]["httpGet"]["port"]] == http.port


@every_pod
def test_a_slow_start_is_no_death(name: str) -> None:
    """The startup probe has at least half a minute, so that a large bundle is loaded before liveness counts."""
    probe = sidecar_of(PODS[name])["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 30


@every_pod
def test_only_what_listens_outside_is_insecure_and_then_guarded(name: str) -> None:
    """`--insecure` stands exactly where a port can be reached from outside, and there a NetworkPolicy names who may
    connect to that port."""
    pod = PODS[name]
    options = options_of(sidecar_of(pod))
    reachable = {options[key].port for key in ("grpc", "http") if not options[key].is_local}
    assert options["insecure"] == bool(reachable)
    policies = [found for found in MANIFESTS[name] if found["kind"] == "NetworkPolicy"]
    guarded = {
        port["port"]
        for policy in policies
        if policy["spec"]["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
        for rule in policy["spec"]["ingress"]
        if rule.get("from")
        for port in rule["ports"]
    }
    assert reachable == guarded


@every_pod
def test_callers_from_outside_are_authenticated(name: str) -> None:
    """Where gRPC can be reached from outside, clients need a certificate, and the files for that lie in a Secret that
    the server's group alone can read."""
    pod = PODS[name]
    container = sidecar_of(pod)
    options = options_of(container)
    if options["grpc"].is_local:
        assert options["tls_cert"] is None
        return
    files = [PurePosixPath(options[key]) for key in ("tls_cert", "tls_key", "tls_client_ca")]
    (mount,) = [mount for mount in container["volumeMounts"] if mount["name"] == "tls"]
    assert {str(file.parent) for file in files} == {mount["mountPath"]}
    (secret,) = [volume["secret"] for volume in pod["spec"]["volumes"] if volume["name"] == "tls"]
    assert secret["defaultMode"] == 0o440
    assert pod["spec"]["securityContext"]["fsGroup"] == container["securityContext"]["runAsGroup"]


@every_pod
def test_the_pod_outlives_the_drain(name: str) -> None:
    """The pod's grace period covers the pause before SIGTERM and the server's own grace, with some seconds to spare."""
    pod = PODS[name]
    container = sidecar_of(pod)
    pause = container.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", ["sleep", "0"])
    assert pause[0] == "sleep"
    needed = int(pause[1]) + options_of(container)["grace"]
    assert pod["spec"]["terminationGracePeriodSeconds"] >= needed + 5


@every_pod
def test_the_policies_are_where_the_sidecar_looks(name: str) -> None:
    """The bundle lies in a volume that the sidecar mounts read-only; git-sync, where it is used, writes the same volume
    at the same path and swaps the link that the sidecar follows."""
    pod = PODS[name]
    bundle = PurePosixPath(options_of(sidecar_of(pod))["policies"])
    (mount,) = [found for found in sidecar_of(pod)["volumeMounts"] if found["name"] == "policies"]
    assert mount["readOnly"] is True
    assert "subPath" not in mount
    assert bundle.is_relative_to(mount["mountPath"])
    syncing = [container for container in containers(pod) if container["name"] == "git-sync"]
    for container in syncing:
        assert {"name": "policies", "mountPath": mount["mountPath"]} in container["volumeMounts"]
        told = dict(argument.removeprefix("--").split("=", 1) for argument in container["args"])
        assert bundle.is_relative_to(PurePosixPath(told["root"]) / told["link"])
        assert options_of(sidecar_of(pod))["wait_for_policies"]


@every_pod
def test_the_application_knows_where_to_ask(name: str) -> None:
    """An application beside the sidecar is given the address that gRPC listens on, and can reach a socket there."""
    pod = PODS[name]
    sidecar = sidecar_of(pod)
    grpc: Address = options_of(sidecar)["grpc"]
    for container in pod["spec"]["containers"]:
        if container["name"] == "authz-sidecar":
            continue
        assert {"name": "AUTHZ_ADDRESS", "value": str(grpc)} in container["env"]
        # It starts after the sidecar is ready, and ends before it.
        assert sidecar["restartPolicy"] == "Always"
        if grpc.path:
            folder = str(PurePosixPath(grpc.path).parent)
            (ours,) = [mount["name"] for mount in sidecar["volumeMounts"] if mount["mountPath"] == folder]
            (theirs,) = [mount["name"] for mount in container["volumeMounts"] if mount["mountPath"] == folder]
            assert ours == theirs
            assert pod["spec"]["securityContext"]["fsGroup"] == sidecar["securityContext"]["runAsGroup"]


def test_the_service_leads_to_the_servers() -> None:
    """The central Service and its budget select the pods, and its ports are those that they listen on."""
    objects = {manifest["kind"]: manifest["spec"] for manifest in MANIFESTS["central.yaml"]}
    labels = PODS["central.yaml"]["metadata"]["labels"].items()
    assert objects["Service"]["selector"].items() <= labels
    assert objects["PodDisruptionBudget"]["selector"]["matchLabels"].items() <= labels
    container = sidecar_of(PODS["central.yaml"])
    options = options_of(container)
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    served = {port["name"]: ports[port["targetPort"]] for port in objects["Service"]["ports"]}
    assert served == {"grpc": options["grpc"].port, "http": options["http"].port}


@pytest.mark.parametrize("name", ["sidecar.yaml, patched", "central.yaml"])
def test_prometheus_finds_the_metrics(name: str) -> None:
    """The PodMonitor selects the pods whose HTTP port is open, by its name there."""
    (monitor,) = read_manifests("podmonitor.yaml")
    pod = PODS[name]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert endpoint["path"] == "/metrics"
    container = sidecar_of(pod)
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports[endpoint["port"]] == options_of(container)["http"].port


def decide(policies: Path, *arguments: str) -> str:
    """The line that `authz-sidecar check` writes."""
    result = CliRunner().invoke(cli, ["check", "--policies", str(policies), *arguments])
    return result.stdout


def test_the_configmap_is_a_bundle(tmp_path: Path) -> None:
    """Laid out as kubelet mounts it, behind `..data`, the ConfigMap's bundle has no findings and decides."""
    (config,) = [found for found in read_manifests("sidecar-configmap.yaml") if found["kind"] == "ConfigMap"]
    (volume,) = [found for found in PODS["sidecar-configmap.yaml"]["spec"]["volumes"] if "configMap" in found]
    assert volume["configMap"]["name"] == config["metadata"]["name"]
    data = tmp_path / "..2026_01_31"
    data.mkdir()
    (tmp_path / "..data").symlink_to(data.name)
    for item in volume["configMap"]["items"]:
        (data / item["path"]).write_text(config["data"][item["key"]])
        (tmp_path / item["path"]).symlink_to(f"..data/{item['path']}")
    assert CliRunner().invoke(cli, ["lint", str(tmp_path)]).exit_code == 0
    assert decide(tmp_path, "alice", "folder:1", "read", "--company", "acme").startswith("allow ")
    assert decide(tmp_path, "bob", "folder:1", "update", "--company", "acme").startswith("deny ")


@pytest.mark.parametrize("gitdir", ["absolute", "relative"])
def test_git_sync_gives_the_commit(tmp_path: Path, gitdir: str) -> None:
    """In the layout that git-sync makes, a work tree for each commit and a link to one, the policy version is the
    commit."""

    def git(*arguments: str) -> str:
        identity = ("-c", "user.name=test", "-c", "user.email=test@example.com")
        settings = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        command = ("git", *identity, *arguments)
        return subprocess.run(command, cwd=tmp_path, env=settings, check=True, capture_output=True, text=True).stdout

    (config,) = [found for found in read_manifests("sidecar-configmap.yaml") if found["kind"] == "ConfigMap"]
    git("init", "--quiet")
    bundle = tmp_path / "policies"
    bundle.mkdir()
    for name, text in config["data"].items():
        (bundle / name).write_text(text)
    git("add", "policies")
    git("commit", "--quiet", "--message", "policies")
    commit = git("rev-parse", "HEAD").strip()
    tree = tmp_path / ".worktrees" / commit
    git("worktree", "add", "--quiet", "--detach", str(tree), commit)
    if gitdir == "relative":
        (tree / ".git").write_text(f"gitdir: ../../.git/worktrees/{commit}\n")
    (tmp_path / "current").symlink_to(tree.relative_to(tmp_path))
    line = decide(tmp_path / "current" / "policies", "alice", "folder:1", "read", "--company", "acme")
    assert re.search(r"policy_version=(\S+)", line)
    assert line.split("policy_version=")[1].strip() == commit
