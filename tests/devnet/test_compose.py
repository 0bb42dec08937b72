"""docker-compose.yml: well-formed, safe in the ways that can be read off it, and taken by the engine's own check."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = ROOT / "docker-compose.yml"


@pytest.fixture
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(COMPOSE.read_text("utf-8"))
    return loaded


def test_every_service_has_an_init_so_that_it_ends_when_told(compose: dict[str, Any]) -> None:
    assert all(service["init"] is True for service in compose["services"].values())


def test_it_is_the_network_of_the_devnet(compose: dict[str, Any]) -> None:
    providers = [name for name in compose["services"] if name.startswith("provider-")]
    assert providers == ["provider-1", "provider-2", "provider-3"]
    assert {"chain", "setup", "requester"} <= set(compose["services"])


def test_ports_are_published_to_this_machine_only(compose: dict[str, Any]) -> None:
    ports = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_only_providers_reach_the_engine(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        reaches = service.get("privileged", False) or "docker.sock" in str(service.get("volumes", ""))
        assert reaches == name.startswith("provider-"), name


def test_nodes_start_once_the_setup_is_done_and_say_when_they_are_up(compose: dict[str, Any]) -> None:
    for name in ("provider-1", "provider-2", "provider-3", "requester"):
        service = compose["services"][name]
        assert service["depends_on"]["setup"]["condition"] == "service_completed_successfully"
        assert service["healthcheck"]["test"][1] == "capanode"
        assert service["environment"]["CAPANODE_DATA"].endswith(f"/nodes/{name}")


def test_setup_names_the_addresses_that_the_nodes_have(compose: dict[str, Any]) -> None:
    services = compose["services"]
    command = services["setup"]["command"]
    for name in ("provider-1", "provider-2", "provider-3", "requester"):
        address = services[name]["networks"]["devnet"]["ipv4_address"]
        assert f"--{name.partition('-')[0]}={address}" in command


def test_engine_takes_the_file() -> None:
    """`docker compose` comes with some engines only; what it would check beyond the above is its own grammar."""
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        print("docker compose is not installed: the file was checked as YAML only")
        return
    command = [docker, "compose", "--file", str(COMPOSE), "config", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
