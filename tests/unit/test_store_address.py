"""Where a store may be, and what is said where it may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from rea.domain.errors import UsageError
from rea.store import StoreError
from rea.store import address as place
from rea.store.address import NETWORK, check_disk, check_path, default_url, filesystem, parse


@pytest.mark.parametrize(
    "url",
    [
        "mysql://root@host/db",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///a.db?mode=ro",
        "sqlite+aiosqlite:///a.db",
        "/data/rea.db",
        "",
    ],
)
def test_a_url_that_can_be_no_store_is_refused_with_an_example(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(url)
    assert "sqlite:////" in str(caught.value)


def test_a_sqlite_url_means_the_same_file_from_every_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    there = parse("sqlite:///some/rea.db")
    assert there.path == tmp_path.resolve() / "some" / "rea.db"
    monkeypatch.chdir("/")
    assert parse(there.url) == there


def test_a_password_is_never_shown() -> None:
    there = parse("postgresql://me:s3cret@host:5432/db")
    assert "s3cret" in there.url
    assert "s3cret" not in there.where
    assert parse("postgres://host/db").url == parse("postgresql+psycopg://host/db").url


def test_the_default_store_is_rea_store_else_the_data_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REA_STORE", "postgresql://host/db")
    assert default_url() == "postgresql://host/db"
    monkeypatch.delenv("REA_STORE")
    monkeypatch.delenv("REA_HOME", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert parse(default_url()).path == Path("/data/rea/rea.db")
    monkeypatch.setenv("REA_HOME", "/team")
    assert parse(default_url()).path == Path("/team/rea.db")


MOUNTS = """\
proc /proc proc rw 0 0
/dev/sda1 / ext4 rw 0 0
server:/home /home nfs4 rw 0 0
/dev/sdb1 /home/local ext4 rw 0 0
tmpfs /with\\040space tmpfs rw 0 0
server:/a /twice ext4 rw 0 0
server:/b /twice nfs rw 0 0
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/var", "ext4"),
        ("/home/me", "nfs4"),
        ("/homely", "ext4"),
        ("/home/local/me", "ext4"),
        ("/with space/x", "tmpfs"),
        ("/twice", "nfs"),
    ],
)
def test_a_folder_has_the_file_system_of_the_nearest_last_mount(folder: str, kind: str) -> None:
    assert filesystem(Path(folder), MOUNTS) == kind
    assert filesystem(Path(folder), "") is None


def test_sqlite_on_a_network_file_system_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place, "_mounts", lambda: f"server:/x {tmp_path.resolve()} nfs4 rw 0 0\n")
    for file in (tmp_path / "rea.db", tmp_path / "not" / "yet" / "rea.db"):
        with pytest.raises(StoreError, match="network file system") as caught:
            check_disk(file)
        assert "postgresql://" in str(caught.value) and "local disk" in str(caught.value)
    with pytest.raises(StoreError, match="network file system"):
        check_path(tmp_path / "rea.db")
    monkeypatch.setenv("REA_SQLITE_ON_NETWORK", "no")
    with pytest.raises(StoreError, match="REA_SQLITE_ON_NETWORK=yes"):
        check_path(tmp_path / "rea.db")
    monkeypatch.setenv("REA_SQLITE_ON_NETWORK", "yes")
    check_path(tmp_path / "rea.db")
    monkeypatch.delenv("REA_SQLITE_ON_NETWORK")
    monkeypatch.setattr(place, "_mounts", lambda: f"/dev/sda {tmp_path.resolve()} ext4 rw 0 0\n")
    check_path(tmp_path / "rea.db")


def test_what_many_clusters_and_clouds_mount_is_known_and_what_is_local_is_not_refused() -> None:
    shared = "nfs nfs4 cifs smb3 lustre gpfs beegfs ceph fuse.sshfs fuse.gcsfuse fuse.s3fs glusterfs ocfs2 wekafs"
    assert set(shared.split()) <= NETWORK
    local = "ext4 xfs btrfs zfs tmpfs overlay f2fs fuseblk fuse.mergerfs fuse-overlayfs fuse.fuse-overlayfs ecryptfs"
    assert not set(local.split()) & NETWORK
