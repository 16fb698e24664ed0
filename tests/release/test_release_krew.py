"""krew's rules, and our manifest against them."""

import copy
import hashlib
import io
import tarfile

import pytest
import yaml

from kubectl_chrek import __version__
from kubectl_chrek.api.errors import ChrekError
from release import freeze, krew, places

OURS = yaml.safe_load(krew.MANIFEST.read_text())


def changed(path, value):
    manifest = copy.deepcopy(OURS)
    *parents, last = path
    place = manifest
    for key in parents:
        place = place[key]
    place[last] = value
    return manifest


def test_our_manifest_is_accepted_under_the_name_that_krew_wants():
    assert krew.violations(OURS, "chrek") == []
    assert len(krew.violations(OURS, "krew-manifest")) == 1


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("apiVersion",), "v1"),
        (("kind",), "Plug"),
        (("metadata", "name"), "Chrek"),
        (("spec", "version"), "0.1.0"),
        (("spec", "shortDescription"), ""),
        (("spec", "shortDescription"), "two\nlines"),
        (("spec", "shortDescription"), "x" * 71),
        (("spec", "description"), "x" * 81),
        (("spec", "caveats"), "x" * 81),
        (("spec", "platforms"), []),
        (("spec", "platforms", 0, "uri"), "https://example.invalid/chrek.tar.xz"),
        (("spec", "platforms", 0, "sha256"), "A" * 64),
        (("spec", "platforms", 0, "bin"), ""),
        (("spec", "platforms", 0, "selector"), {}),
        (("spec", "platforms", 0, "selector"), {"matchLabels": {"os": "plan9"}}),
        (("spec", "platforms", 0, "selector"), {"matchLabels": {"os": "linux", "libc": "musl"}}),
        (("spec", "platforms", 0, "selector"), {"matchLabels": {"os": "linux"}}),
    ],
)
def test_each_rule_finds_one_thing(path, value):
    stem = value if path == ("metadata", "name") else "chrek"
    assert len(krew.violations(changed(path, value), stem)) == 1


def archive(path, members):
    with tarfile.open(path, "w:gz") as tar:
        for name, kind, mode in members:
            member = tarfile.TarInfo(name)
            member.type, member.mode, member.linkname = kind, mode, "LICENSE"
            tar.addfile(member, io.BytesIO())
    return path


@pytest.mark.parametrize(
    ("extra", "sign"),
    [
        (("link", tarfile.SYMTYPE, 0o777), "neither a file nor a folder"),
        (("link", tarfile.LNKTYPE, 0o777), "neither a file nor a folder"),
        (("../x", tarfile.REGTYPE, 0o644), "leads outside"),
        (("/x", tarfile.REGTYPE, 0o644), "leads outside"),
    ],
)
def test_an_archive_that_krew_cannot_extract(tmp_path, extra, sign):
    good = [("LICENSE", tarfile.REGTYPE, 0o644), ("chrek", tarfile.REGTYPE, 0o755)]
    assert krew.archive_violations(archive(tmp_path / "good.tar.gz", good), "chrek") == []
    (found,) = krew.archive_violations(archive(tmp_path / "bad.tar.gz", [*good, extra]), "chrek")
    assert sign in found


def test_an_archive_without_license_or_program(tmp_path):
    path = archive(tmp_path / "a.tar.gz", [("chrek", tarfile.REGTYPE, 0o644)])
    assert len(krew.archive_violations(path, "chrek")) == 2


def test_a_release_names_its_version_and_the_archives_that_were_made(tmp_path):
    (tmp_path / "kubectl-chrek-linux-arm64.tar.gz").write_bytes(b"content")
    made = krew.release_manifest(OURS, tmp_path)
    (platform,) = made["spec"]["platforms"]
    assert platform["sha256"] == hashlib.sha256(b"content").hexdigest()
    assert platform["uri"] == f"{places.DOWNLOADS}/v{__version__}/kubectl-chrek-linux-arm64.tar.gz"
    assert made["spec"]["homepage"] == places.HOMEPAGE
    assert made["spec"]["version"] == f"v{__version__}"
    assert krew.violations(made, "chrek") == []


def test_this_machine_has_an_entry_in_the_manifest():
    assert any(platform["uri"].endswith(freeze.archive_name()) for platform in OURS["spec"]["platforms"])


def test_one_place_says_where_a_release_lies():
    assert OURS["spec"]["homepage"] == places.HOMEPAGE
    assert OURS["spec"]["version"] == f"v{__version__}"
    for platform in OURS["spec"]["platforms"]:
        assert platform["uri"] == places.download(__version__, platform["uri"].rpartition("/")[2])


@pytest.mark.parametrize(
    ("url", "somewhere"),
    [
        ("https://github.com/acme/x", True),
        ("https://x.invalid/y", False),
        ("https://example.com/y", False),
        ("https://downloads.example.org/y", False),
        ("http://github.com/acme/x", False),
        ("https://localhost/y", False),
        ("https://intranet/y", False),
        ("", False),
    ],
)
def test_a_placeholder_is_known_by_where_it_leads(url, somewhere):
    assert places.placeholders((url,)) == ([] if somewhere else [url])


@pytest.fixture
def placed(monkeypatch):
    monkeypatch.setattr(places, "placeholders", list)


def fill(folder):
    for platform in OURS["spec"]["platforms"]:
        members = [("LICENSE", tarfile.REGTYPE, 0o644), (platform["bin"], tarfile.REGTYPE, 0o755)]
        archive(folder / platform["uri"].rpartition("/")[2], members)


def test_nothing_is_published_while_its_addresses_lead_nowhere(tmp_path, capsys):
    fill(tmp_path)
    leads_nowhere = bool(places.placeholders())
    assert krew.main(["--publish", str(tmp_path)]) == leads_nowhere
    assert (tmp_path / "chrek.yaml").exists() != leads_nowhere
    assert ("lead nowhere" in capsys.readouterr().err) == leads_nowhere
    assert krew.main([str(tmp_path)]) == 0  # For an install from the archive.
    assert krew.violations(yaml.safe_load((tmp_path / "chrek.yaml").read_text()), "chrek") == []


def test_a_release_is_of_all_platforms_and_keeps_krews_rules(tmp_path, placed):
    with pytest.raises(ChrekError, match=r"kubectl-chrek-darwin-arm64\.tar\.gz not in"):
        krew.publishable(OURS, tmp_path)
    fill(tmp_path)
    made = krew.publishable(OURS, tmp_path)
    assert len(made["spec"]["platforms"]) == len(OURS["spec"]["platforms"])
    archive(tmp_path / "kubectl-chrek-linux-arm64.tar.gz", [("kubectl-chrek", tarfile.REGTYPE, 0o755)])
    with pytest.raises(ChrekError, match=r"linux-arm64\.tar\.gz: LICENSE is missing"):
        krew.publishable(OURS, tmp_path)
