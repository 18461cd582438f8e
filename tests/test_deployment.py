"""The samples in deploy/, as far as they can be tried without systemd and containers."""

import re
import shlex
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.conf import settings

from tests.behind_nginx import MAIN
from tests.programs import program

DEPLOY = Path(__file__).resolve().parent.parent / "deploy"
UNITS = sorted(
    path.name for path in DEPLOY.iterdir() if path.suffix in (".service", ".timer", ".target")
)
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
INSTALLED = "/opt/data-broker-service/.venv/bin"


@pytest.mark.parametrize("name", UNITS)
def test_systemd_takes_the_unit(name: str, tmp_path: Path) -> None:
    for unit in UNITS:
        text = (DEPLOY / unit).read_text().replace(INSTALLED, str(Path(sys.executable).parent))
        (tmp_path / unit).write_text(text)
    name = name.replace("@.", "@1.")
    (tmp_path / "data-broker@1.service").write_text((tmp_path / "data-broker@.service").read_text())
    verify = [program("systemd-analyze"), "verify", "--man=no", str(tmp_path / name)]
    done = subprocess.run(verify, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_nginx_takes_the_configuration_with_its_tls(tmp_path: Path) -> None:
    openssl = [
        program("openssl"),
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-subj",
        "/CN=x",
    ]
    openssl += ["-keyout", str(tmp_path / "broker.key"), "-out", str(tmp_path / "broker.pem")]
    subprocess.run(openssl, check=True, capture_output=True)
    text = (DEPLOY / "nginx.conf").read_text()
    text = re.sub("/etc/ssl/(certs|private)", str(tmp_path), text)
    (tmp_path / "data-broker.conf").write_text(text)
    (tmp_path / "nginx.conf").write_text(MAIN.format(folder=tmp_path, user=""))
    nginx = [program("nginx"), "-t", "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf")]
    done = subprocess.run(nginx, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "[warn]" not in re.sub(r'.*"user" directive.*', "", done.stderr)


def test_the_image_has_every_app() -> None:
    text = (DEPLOY / "Containerfile").read_text()
    own = [app for app in settings.INSTALLED_APPS if (settings.BASE_DIR / app).is_dir()]
    assert len(own) > 4
    assert [app for app in own if f"\nCOPY {app} {app}\n" not in text] == []
    copied = re.findall(r"^COPY (?!--)(.*) \S+$", text, flags=re.M)
    names = [name for names in copied for name in names.split()]
    assert [name for name in names if not (settings.BASE_DIR / name).exists()] == []


def test_containers_name_only_each_other() -> None:
    services: dict[str, Any] = COMPOSE["services"]
    for service in services.values():
        assert set(service.get("depends_on", ())) <= set(services)
        for volume in service.get("volumes", ()):
            name = volume.partition(":")[0]
            assert name[0] in "./" or name in COMPOSE["volumes"]


def test_containers_are_configured_by_variables_that_exist() -> None:
    documented = (settings.BASE_DIR / "docs" / "CONFIGURATION.md").read_text()
    given = COMPOSE["services"]["broker1"]["environment"]
    assert [name for name in given if f"`{name}`" not in documented] == []


def test_the_containers_nginx_asks_the_containers_instances() -> None:
    """Its configuration is made by sed from the one for a machine of one's own."""
    sed = shlex.split(COMPOSE["services"]["nginx"]["command"][2].partition("&&")[0])
    expressions = [text for before, text in pairwise(sed) if before == "-e"]
    options = [word for text in expressions for word in ("-e", text)]
    done = subprocess.run(
        ["sed", *options, str(DEPLOY / "nginx.conf")], capture_output=True, text=True, check=True
    )
    servers = re.findall(r"^    server (\S+)", done.stdout, flags=re.M)
    assert servers[:2] == ["broker1:8000", "broker2:8000"]
    files = re.findall(r"ssl_certificate\w* (\S+);", done.stdout)
    assert files == ["/etc/tls/broker.pem", "/etc/tls/broker.key"]
    mounts = {volume.split(":")[1] for volume in COMPOSE["services"]["nginx"]["volumes"]}
    assert {"/etc/tls", "/srv/data-broker/static"} <= mounts
