"""From a loaded stack to Desired: selection, defaults, absolute paths, replicas. Nothing after this sees pydantic.

Reads env files and asks the file system about the project directory; changes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from stackup.core import types
from stackup.errors import StackupError
from stackup.stackfile import models
from stackup.stackfile.check import Checker
from stackup.stackfile.environment import service_environment
from stackup.stackfile.nodes import Report
from stackup.stackfile.project import report_credentials, resolve_project
from stackup.stackfile.selection import enabled, select, with_profiles_of
from stackup.stackfile.stack import Stack

MAX_LABEL = 63
"""Bytes of one label of a domain name, RFC 1035 2.3.4; a host name may have 64 (sethostname(2))."""


def resolve(stack: Stack, services: Sequence[str] = ()) -> types.Desired:
    """What is wanted of `services` and of what they depend on; of all enabled services where none is named.

    Raises:
        StackFileError: an env file is missing or faulty, a dependency is disabled, or credentials would be shown.
        StackupError: a service does not exist, none is enabled, or the project directory must not be shared.
    """
    report = Report()
    selected = select_services(stack, services, report)
    environments = {name: service_environment(stack, name, report) for name in selected}
    report_credentials(stack, selected, report)
    report.raise_problems()
    if not selected:
        raise StackupError("no service selected", "activate a profile with --profile, or name a service")
    project = resolve_project(stack, selected)
    containers = [
        _container(stack, name, index, environments[name], project, frozenset(selected))
        for name in selected
        for index in range(1, stack.file.services[name].replicas + 1)
    ]
    used_networks = {key for name in selected for key in _network_keys(stack.file.services[name])}
    used_volumes = {
        volume.source for name in selected for volume in stack.file.services[name].volumes if volume.type == "volume"
    }
    return types.Desired(
        stack=stack.name,
        project=project,
        containers=tuple(sorted(containers, key=lambda spec: spec.name)),
        networks=tuple(_network(stack, key) for key in sorted(used_networks)),
        volumes=tuple(_volume(stack, str(key)) for key in sorted(filter(None, used_volumes))),
    )


def select_services(stack: Stack, named: Sequence[str], report: Report) -> tuple[str, ...]:
    """The selected services. Faults that only this selection brings to light are reported."""
    file = stack.file
    selected = select(file.services, named, stack.profiles)
    available = enabled(file.services, with_profiles_of(file.services, named, stack.profiles))
    checker = Checker(stack.document, file, report)
    checker.check_enabled(selected, available)
    if newly := available - enabled(file.services, stack.profiles):
        checker.check(newly.intersection(selected) | enabled(file.services, stack.profiles))
    return selected


def _container(
    stack: Stack,
    service_name: str,
    index: int,
    environment: dict[str, str],
    project: types.Project,
    selected: frozenset[str],
) -> types.ContainerSpec:
    service = stack.file.services[service_name]
    name = f"{stack.name}-{service_name}-{index}"
    mode, attempts = service.restart
    working_dir = project.directory if project.shared else "/"
    return types.ContainerSpec(
        name=name,
        service=service_name,
        index=index,
        command=service.argv,
        environment=tuple(environment.items()),
        working_dir=stack.absolute(service.working_dir) if service.working_dir else working_dir,
        user=service.user or None,
        hostname=service.hostname or name[:MAX_LABEL].rstrip("-."),
        init=service.init,
        show=tuple(dict.fromkeys(stack.absolute(path) for path in service.x_stackup.rootfs.show)),
        mounts=tuple(_mount(stack, volume) for volume in service.volumes),
        networks=tuple(
            types.Attachment(key, tuple(dict.fromkeys(options.aliases if options else ())))
            for key, options in sorted(_network_keys(service).items())
        ),
        ports=tuple(
            dict.fromkeys(
                types.Port(port.target, port.published, port.host_ip, port.protocol) for port in service.ports
            )
        ),
        labels=tuple(sorted(service.labels.items())),
        healthcheck=_healthcheck(service),
        restart=types.RestartPolicy(types.RestartMode(mode), attempts),
        stop_signal=service.stop_signal,
        stop_grace_period=service.stop_grace_period,
        depends_on=tuple(
            types.Dependency(other, types.Condition(edge.condition), edge.restart, edge.required)
            for other, edge in sorted(service.depends_on.items())
            if other in selected
        ),
        watch=tuple(
            types.WatchRule(
                os.path.realpath(stack.absolute(rule.path)),
                types.WatchAction(rule.action),
                rule.target,
                tuple(rule.ignore),
                tuple(rule.include),
            )
            for rule in (service.develop.watch if service.develop else ())
        ),
    )


def _mount(stack: Stack, volume: models.ServiceVolume) -> types.Mount:
    match volume.type:
        case "bind":
            # Compose: a missing source is created in the short form and where there is a `bind:` block.
            create = volume.bind is not None and volume.bind.create_host_path
            return types.Bind(stack.absolute(volume.source or "."), volume.target, volume.read_only, create)
        case "volume":
            return types.VolumeMount(volume.source or "", volume.target, volume.read_only)
        case "tmpfs":
            options = volume.tmpfs or models.TmpfsOptions()
            mode = types.Tmpfs(volume.target).mode if options.mode is None else options.mode
            return types.Tmpfs(volume.target, options.size or None, mode)


def _healthcheck(service: models.Service) -> types.Healthcheck | None:
    """Durations and retries of 0 mean the default (Compose)."""
    check = service.healthcheck
    if check is None or not service.is_checked:
        return None
    word, *words = check.test
    default = types.Healthcheck(test=())
    return types.Healthcheck(
        test=("/bin/sh", "-c", *words) if word == "CMD-SHELL" else tuple(words),
        interval=check.interval or default.interval,
        timeout=check.timeout or default.timeout,
        retries=check.retries or default.retries,
        start_period=check.start_period or default.start_period,
        start_interval=check.start_interval or default.start_interval,
    )


def _network_keys(service: models.Service) -> dict[str, models.ServiceNetwork | None]:
    return service.networks or {"default": None}


def _network(stack: Stack, key: str) -> types.NetworkSpec:
    network = stack.file.networks.get(key) or models.Network()
    return types.NetworkSpec(key, network.name or f"{stack.name}_{key}", tuple(sorted(network.labels.items())))


def _volume(stack: Stack, key: str) -> types.VolumeSpec:
    volume = stack.file.volumes.get(key) or models.Volume()
    name = volume.name or (key if volume.external else f"{stack.name}_{key}")
    return types.VolumeSpec(key, name, volume.external, tuple(sorted(volume.labels.items())))
