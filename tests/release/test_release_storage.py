"""The Helm chart with artifacts in a bucket or a registry: the guide's keys, and nothing left of the volume."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

CHART = Path(__file__).parents[2] / "charts" / "chrek"
S3 = (
    "storage.type=s3",
    "storage.s3.uri=s3://minio.example.com:9000/bucket/checkpoints?region=eu",
    "storage.s3.credentialsSecretRef=creds",
)
OCI = ("storage.type=oci", "storage.oci.uri=oci://registry.example.com/checkpoints", "storage.oci.credentialsSecretRef=creds")


def helm(*settings):
    program = shutil.which("helm", path=os.pathsep.join((str(CHART.parents[1] / ".cache" / "bin"), os.environ["PATH"])))
    if program is None:
        pytest.skip("there is no helm in PATH: run scripts/install-kubectl")
    flags = [word for setting in settings for word in ("--set", setting)]
    return subprocess.run(
        [program, "template", "chrek", str(CHART), "-n", "ns", *flags], check=False, capture_output=True, text=True
    )


def render(*settings):
    done = helm(*settings)
    assert done.returncode == 0, done.stderr
    return {(body["kind"], body["metadata"]["name"]): body for body in yaml.load_all(done.stdout, yaml.CSafeLoader) if body}


def container(documents, kind, name):
    return documents[kind, name]["spec"]["template"]["spec"]["containers"][0]


def agent(documents):
    return documents["DaemonSet", "chrek-agent"]["spec"]["template"]["spec"]


@pytest.mark.parametrize(("settings", "location"), [(S3, S3[1]), (OCI, OCI[1])])
def test_there_is_no_volume_and_both_programs_know_the_place(settings, location):
    from chrek_agent.main import parse
    from chrek_agent.store.where import parse_place
    from chrek_operator.__main__ import _parser

    documents = render(*settings)
    uri = location.partition("=")[2]
    assert not [key for key in documents if key[0] == "PersistentVolumeClaim"]
    assert "store" not in {volume["name"] for volume in agent(documents)["volumes"]}
    args = parse(container(documents, "DaemonSet", "chrek-agent")["args"])
    assert args.storage == uri
    assert parse_place(args.storage)
    options = _parser().parse_args(container(documents, "Deployment", "chrek-operator")["args"])
    assert (options.storage_type, options.location) == (settings[0].partition("=")[2], uri)


def test_a_buckets_credentials_come_from_the_secret():
    assert container(render(*S3), "DaemonSet", "chrek-agent")["envFrom"] == [{"secretRef": {"name": "creds"}}]
    assert "envFrom" not in container(render(*S3[:2]), "DaemonSet", "chrek-agent")


def test_a_registrys_credentials_are_a_docker_config():
    documents = render(*OCI, "storage.caSecretRef=authority")
    volumes = {volume["name"]: volume.get("secret") for volume in agent(documents)["volumes"]}
    assert volumes["registry-credentials"] == {
        "secretName": "creds",
        "items": [{"key": ".dockerconfigjson", "path": "config.json"}],
    }
    assert volumes["storage-ca"] == {"secretName": "authority"}
    found = container(documents, "DaemonSet", "chrek-agent")
    mounts = {mount["name"]: mount["mountPath"] for mount in found["volumeMounts"]}
    environment = {entry["name"]: entry.get("value") for entry in found["env"]}
    assert environment["DOCKER_CONFIG"] == mounts["registry-credentials"]
    assert environment["CHREK_STORAGE_CA"] == f"{mounts['storage-ca']}/ca.crt"


def test_keys_are_secrets_that_the_agent_reads(tmp_path):
    from chrek_agent.store import protection

    encryption, signing = "storage.encryption.keySecretRef=keys", "storage.signing.keySecretRef=pair"
    documents = render(encryption, signing, "storage.signing.trustedKeysSecretRef=others", "storage.signing.required=true")
    volumes = {volume["name"]: volume["secret"]["secretName"] for volume in agent(documents)["volumes"] if "secret" in volume}
    assert volumes == {"encryption-keys": "keys", "signing-key": "pair", "trusted-keys": "others"}
    found = container(documents, "DaemonSet", "chrek-agent")
    mounts = {mount["name"]: mount["mountPath"] for mount in found["volumeMounts"]}
    environment = {entry["name"]: entry.get("value") for entry in found["env"] if entry["name"].startswith("CHREK_")}
    assert environment == {
        protection.KEYS: mounts["encryption-keys"],
        protection.SIGNING_KEY: f"{mounts['signing-key']}/private.pem",
        protection.TRUSTED_KEYS: mounts["trusted-keys"],
        protection.REQUIRED: "true",
    }
    command = container(render(encryption, "storage.encryption.keyCommand=kms unwrap"), "DaemonSet", "chrek-agent")["env"]
    assert {"name": protection.COMMAND, "value": "kms unwrap"} in command
    assert protection.KEYS not in {entry["name"] for entry in command}


def test_a_service_account_may_have_a_role():
    name = "agent.serviceAccount.annotations.eks\\.amazonaws\\.com/role-arn"
    account = render(*S3, f"{name}=arn:aws:iam::1:role/chrek")["ServiceAccount", "chrek-agent"]
    assert account["metadata"]["annotations"] == {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/chrek"}
    assert "annotations" not in render(*S3)["ServiceAccount", "chrek-agent"]["metadata"]


def test_a_cache_is_kept_on_the_node():
    from chrek_agent.main import parse

    args = parse(container(render(*S3, "storage.cache.size=200Gi"), "DaemonSet", "chrek-agent")["args"])
    assert (args.cache_bytes, args.cache_dir) == (200 << 30, Path("/var/lib/chrek/cache"))
    assert parse(container(render(*S3), "DaemonSet", "chrek-agent")["args"]).cache_bytes == 0


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        (("storage.type=s3",), "storage.s3.uri must say"),
        (("storage.type=oci",), "storage.oci.uri must say"),
        (("storage.type=nfs",), "type"),
        (("storage.type=oci", "storage.oci.uri=https://host/repo"), "uri"),
        (("storage.signing.required=true",), "nobody is trusted"),
        (("storage.encryption.key=x",), "key"),
    ],
)
def test_what_makes_no_sense_is_refused(settings, why):
    done = helm(*settings)
    assert done.returncode != 0
    assert why in done.stderr
