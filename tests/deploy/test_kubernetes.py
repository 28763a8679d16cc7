"""deploy/kubernetes: the API's own schemas take it, strictly; what it names exists. No cluster is asked."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path
from typing import Any, Final

import kubernetes_validate
import pytest
import yaml  # type: ignore[import-untyped]

from gateway.app import OVERTIME
from tests.deploy import DEPLOY, ROLES, check_settings, is_setting, said

FOLDER: Final = DEPLOY / "kubernetes"
OLDEST: Final = "1.30"  # preStop.sleep is on by default from there on
FILES: Final = tuple(sorted(path for path in FOLDER.glob("*.yaml") if path.name != "kustomization.yaml"))
OBJECTS: Final = {
    (one["kind"], one["metadata"]["name"]): one for path in FILES for one in yaml.safe_load_all(path.read_text("utf-8"))
}
DEPLOYMENTS: Final = {name.rpartition("-")[2]: one for (kind, name), one in OBJECTS.items() if kind == "Deployment"}


def pod(role: str) -> dict[str, Any]:
    return dict(DEPLOYMENTS[role]["spec"]["template"]["spec"])


def container(role: str) -> dict[str, Any]:
    (one,) = pod(role)["containers"]
    return dict(one)


def settings() -> str:
    return str(OBJECTS["ConfigMap", "pal-gateway"]["data"]["gateway.toml"])


@pytest.mark.parametrize("version", [OLDEST, kubernetes_validate.latest_version()])
@pytest.mark.parametrize("key", OBJECTS, ids="/".join)
def test_the_schemas_take_it(key: tuple[str, str], version: str) -> None:
    kubernetes_validate.validate(OBJECTS[key], version, strict=True)


def test_a_misspelt_field_would_be_found() -> None:
    one = OBJECTS["Service", "pal-gateway-smtp"]
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(
            {**one, "spec": {**one["spec"], "externalTraficPolicy": "Local"}}, OLDEST, strict=True
        )


def test_all_of_it_is_applied_but_the_example() -> None:
    named = yaml.safe_load((FOLDER / "kustomization.yaml").read_text("utf-8"))["resources"]
    assert sorted(named) == [path.name for path in FILES if path.name != "secret.example.yaml"]


def test_kustomize_makes_the_same_of_it() -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is in none of Debian's packages")
    made = list(yaml.safe_load_all(said(kubectl, "kustomize", FOLDER)))
    assert {(one["kind"], one["metadata"]["name"]) for one in made} == OBJECTS.keys() - {("Secret", "pal-gateway")}
    for one in made:
        kubernetes_validate.validate(one, OLDEST, strict=True)


def test_each_role_is_a_deployment_that_a_drain_leaves_one_of() -> None:
    assert sorted(DEPLOYMENTS) == sorted(ROLES)
    for role in ROLES:
        assert container(role)["args"] == ["serve", "--role", role]
        budget = OBJECTS["PodDisruptionBudget", f"pal-gateway-{role}"]["spec"]
        labels = DEPLOYMENTS[role]["spec"]["template"]["metadata"]["labels"]
        assert DEPLOYMENTS[role]["spec"]["selector"]["matchLabels"] == budget["selector"]["matchLabels"] == labels
        assert DEPLOYMENTS[role]["spec"]["replicas"] > budget["maxUnavailable"]


@pytest.mark.parametrize("role", ROLES)
def test_the_restricted_profile_takes_it(role: str) -> None:
    """As the Pod Security Standards have it, and a read-only root besides."""
    of_pod, of_container = pod(role)["securityContext"], container(role)["securityContext"]
    assert of_pod["runAsNonRoot"]
    assert of_pod["runAsUser"] > 0
    assert of_pod["seccompProfile"] == {"type": "RuntimeDefault"}
    assert of_container["allowPrivilegeEscalation"] is False
    assert of_container["capabilities"] == {"drop": ["ALL"]}
    assert of_container["readOnlyRootFilesystem"]
    assert {kind for one in pod(role)["volumes"] for kind in one} <= {"name", "configMap", "secret", "emptyDir"}
    assert not pod(role).keys() & {"hostNetwork", "hostPID", "hostIPC"}


@pytest.mark.parametrize("role", ROLES)
def test_what_it_names_exists(role: str) -> None:
    one = container(role)
    assert {mount["name"] for mount in one["volumeMounts"]} == {volume["name"] for volume in pod(role)["volumes"]}
    ports = {port["name"]: port["containerPort"] for port in one["ports"]}
    probes = [one[name]["httpGet"] for name in ("startupProbe", "readinessProbe", "livenessProbe")]
    assert [probe["path"] for probe in probes] == ["/healthz", "/readyz", "/healthz"]
    assert {ports[probe["port"]] for probe in probes} == {tomllib.loads(settings())["metrics"]["port"]}
    assert [entry["name"] for entry in one["env"] if not is_setting(entry["name"])] == []
    secrets = OBJECTS["Secret", "pal-gateway"]["stringData"].keys()
    assert {Path(entry["value"]).name for entry in one["env"]} <= secrets
    service = OBJECTS.get(("Service", f"pal-gateway-{role}"))
    assert service is None or {port["targetPort"] for port in service["spec"]["ports"]} <= ports.keys()


@pytest.mark.parametrize("role", ROLES)
def test_a_stop_has_the_time_that_it_may_take(role: str) -> None:
    before = container(role).get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    takes = tomllib.loads(settings())["stop_seconds"] + OVERTIME
    assert pod(role)["terminationGracePeriodSeconds"] > takes + before


def test_the_settings_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gateway.toml").write_text(settings(), "utf-8")
    check_settings(tmp_path / "gateway.toml", monkeypatch)
