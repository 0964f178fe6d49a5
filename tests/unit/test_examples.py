"""The examples for service managers give a training command no more of its machine than it needs."""

import re
import shutil
import subprocess

import pytest
import yaml

from local.program import ROOT

EXAMPLES = ROOT / "examples" / "fleet"
UNIT = EXAMPLES / "trainq-worker.service"
JOB, POLICY = yaml.safe_load_all((EXAMPLES / "trainq-workers.job.yaml").read_text())
POD = JOB["spec"]["template"]["spec"]
# `systemd-analyze security`: 10 is open, 0 is closed.
HIGHEST_EXPOSURE = 4.0


def settings() -> dict[str, str]:
    return dict(re.findall(r"^([A-Z]\w+)=(.*)$", UNIT.read_text(), re.MULTILINE))


def test_the_unit_leaves_its_command_nothing_to_gain_and_little_to_change() -> None:
    found = settings()
    assert (found["NoNewPrivileges"], found["CapabilityBoundingSet"]) == ("yes", "")
    assert (found["ProtectSystem"], found["ProtectHome"], found["PrivateTmp"]) == ("strict", "yes", "yes")
    for name in ("Clock", "ControlGroups", "Hostname", "KernelLogs", "KernelModules", "KernelTunables"):
        assert found[f"Protect{name}"] == "yes", name
    for name in ("RestrictNamespaces", "RestrictRealtime", "RestrictSUIDSGID", "LockPersonality"):
        assert found[name] == "yes", name
    assert found["SystemCallFilter"] == "@system-service"
    assert found["User"] != "root"


def test_the_unit_leaves_gpus_and_compilers_usable() -> None:
    found = settings()
    assert (found["DevicePolicy"], found["DeviceAllow"]) == ("closed", "char-nvidia* rw")
    assert not {"PrivateDevices", "ProcSubset", "MemoryDenyWriteExecute", "PrivateNetwork"} & found.keys()


def test_the_folders_that_the_unit_names_can_be_written() -> None:
    """All others are read-only."""
    found = settings()
    assert f"--workdir /var/lib/{found['StateDirectory']} " in found["ExecStart"]
    assert f"HOME=/var/cache/{found['CacheDirectory']}" in found["Environment"].split()


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="this machine has no systemd-analyze")
def test_systemd_finds_little_exposure() -> None:
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(UNIT)]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60).stdout
    assert float(re.findall(r"Overall exposure level for .*: ([\d.]+)", said)[0]) <= HIGHEST_EXPOSURE, said


def test_the_pod_has_no_privileges_and_no_token_of_kubernetes() -> None:
    assert POD["securityContext"]["runAsNonRoot"] is True
    assert POD["securityContext"]["runAsUser"] >= 10_000, "no user of the host"
    assert POD["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert POD["automountServiceAccountToken"] is False
    for container in POD["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"cpu", "memory"} <= container["resources"]["requests"].keys() & container["resources"]["limits"].keys()


def test_orphans_in_the_pod_are_reaped() -> None:
    """A worker as process 1 leaves them as zombies until no process can be started any more."""
    assert POD["shareProcessNamespace"] is True


def test_what_the_pod_writes_goes_to_volumes_of_its_own() -> None:
    (container,) = POD["containers"]
    volumes = {each["name"] for each in POD["volumes"] if each["emptyDir"]["sizeLimit"]}
    mounts = {each["mountPath"] for each in container["volumeMounts"] if each["name"] in volumes}
    home = {each["name"]: each["value"] for each in container["env"]}["HOME"]
    workdir = container["command"][container["command"].index("--workdir") + 1]
    assert {home, workdir, "/tmp"} <= mounts


def test_nobody_can_reach_the_pods() -> None:
    assert POLICY["spec"]["policyTypes"] == ["Ingress"]
    assert "ingress" not in POLICY["spec"]
    assert POLICY["spec"]["podSelector"]["matchLabels"] == JOB["spec"]["template"]["metadata"]["labels"]
