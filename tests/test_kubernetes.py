"""nginx/kubernetes: Kubernetes' own schemas, and what the files say of each other."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from numdraw._master import KILL_GRACE
from numdraw.serve import DRAIN

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed: pip install PyYAML")

ROOT = Path(__file__).parent.parent
MANIFESTS = ROOT / "nginx" / "kubernetes"
CONTAINERFILE = (ROOT / "nginx" / "container" / "Containerfile").read_text()
NGINX_CONF = (ROOT / "nginx" / "container" / "nginx.conf").read_text()
VERSIONS = ("1.27", "1.37")  # the first that the files name, and the newest whose schemas are here


def documents() -> list[Any]:
    """All objects of the files."""
    files = sorted(set(MANIFESTS.glob("*.yaml")) - {MANIFESTS / "kustomization.yaml"})
    return [found for path in files for found in yaml.safe_load_all(path.read_text())]


def one(kind: str) -> Any:
    [found] = [document for document in documents() if document["kind"] == kind]
    return found


def pod() -> Any:
    return one("Deployment")["spec"]["template"]["spec"]


def container(name: str) -> Any:
    [found] = [container for container in pod()["containers"] if container["name"] == name]
    return found


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("document", documents(), ids=lambda document: document["kind"])
def test_an_object_fits_its_schema(document: Any, version: str) -> None:
    validate = pytest.importorskip(
        "kubernetes_validate",
        reason="kubernetes-validate is not installed: pip install kubernetes-validate",
    )
    validate.validate(document, version, strict=True)


def test_kustomize_builds_all_objects_with_images_that_have_a_version() -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed")
    done = subprocess.run(
        [kubectl, "kustomize", MANIFESTS], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    built = list(yaml.safe_load_all(done.stdout))
    kinds = {document["kind"] for document in documents()}
    assert {document["kind"] for document in built} == kinds | {"ConfigMap"}
    [deployment] = [document for document in built if document["kind"] == "Deployment"]
    spec = deployment["spec"]["template"]["spec"]
    for its in spec["containers"]:
        assert re.fullmatch(
            r"registry\.example/numdraw-(workers|nginx):\d+\.\d+\.\d+", its["image"]
        )
    [name] = [its["configMap"]["name"] for its in spec["volumes"] if "configMap" in its]
    assert re.fullmatch("numdraw-nginx-[0-9a-z]+", name)  # a change of it rolls the pods


def test_every_file_is_in_the_kustomization() -> None:
    kustomization = yaml.safe_load((MANIFESTS / "kustomization.yaml").read_text())
    named = {*kustomization["resources"], *kustomization["configMapGenerator"][0]["files"]}
    assert {path.name for path in MANIFESTS.iterdir()} == named | {"kustomization.yaml"}


def test_a_pod_has_time_to_drain() -> None:
    def sleeps(name: str) -> float:
        return float(container(name)["lifecycle"]["preStop"]["exec"]["command"][1])

    [nginx] = re.findall(r"worker_shutdown_timeout (\d+)s", NGINX_CONF)
    assert sleeps("workers") > sleeps("nginx") + float(nginx)  # nginx ends first
    ends = sleeps("workers") + DRAIN + KILL_GRACE
    assert pod()["terminationGracePeriodSeconds"] > ends


def test_the_containers_are_restricted() -> None:
    security = pod()["securityContext"]
    assert security["runAsNonRoot"] is True
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert set(re.findall(r"^USER (.*)$", CONTAINERFILE, re.MULTILINE)) == {
        f"{security['runAsUser']}:{security['runAsGroup']}"
    }
    for its in pod()["containers"]:
        assert its["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


def test_the_workers_probe_is_their_image_s() -> None:
    [workers, _] = re.findall(r"^ +CMD (\[.*\])$", CONTAINERFILE, re.MULTILINE)
    probe = container("workers")["livenessProbe"]["exec"]["command"]
    assert normal(probe) == normal(json.loads(workers))


def normal(command: list[str]) -> list[str]:
    """A command whose Python says the same, whatever its quotes."""
    *words, code = command
    return [*words, code.replace('"', "'").replace("\n", " ").strip()]


def test_probes_ask_what_nginx_answers_on_its_private_port() -> None:
    ports = {port["name"]: port["containerPort"] for port in container("nginx")["ports"]}
    assert f"listen {ports['private']};" in NGINX_CONF
    assert f"0.0.0.0:{ports['http']}" in CONTAINERFILE
    probes = [container("nginx")[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness")]
    ready = container("nginx")["readinessProbe"]["httpGet"]
    assert {probe["path"] for probe in probes} == {"/nginx"}
    assert ready["path"] == "/health/ready"
    assert {probe["port"] for probe in (*probes, ready)} == {"private"}


def test_no_service_leads_to_the_private_port() -> None:
    assert [port["targetPort"] for port in one("Service")["spec"]["ports"]] == ["http"]


def test_labels_and_names_lead_to_the_pods() -> None:
    labels = one("Deployment")["spec"]["template"]["metadata"]["labels"]
    selectors = [
        one("Deployment")["spec"]["selector"]["matchLabels"],
        one("Service")["spec"]["selector"],
        one("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        one("NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
    ]
    assert selectors == [labels] * 4
    scaled = one("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
    assert (scaled["kind"], scaled["name"]) == ("Deployment", one("Deployment")["metadata"]["name"])
    [rule] = one("Ingress")["spec"]["rules"]
    [path] = rule["http"]["paths"]
    assert path["backend"]["service"]["name"] == one("Service")["metadata"]["name"]


def test_a_rollout_never_takes_a_pod_away_first() -> None:
    assert one("Deployment")["spec"]["strategy"]["rollingUpdate"] == {
        "maxUnavailable": 0, "maxSurge": 1
    }  # fmt: skip  # shorter so
    assert one("HorizontalPodAutoscaler")["spec"]["minReplicas"] >= 2
