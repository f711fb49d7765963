"""The keys of the Compose specification that stackup has not built, by the place where they stand.

A file that uses one is refused with its name, never run without it. Where a value asks for exactly what stackup does
anyway (`privileged: false`), it is accepted and forgotten: those values stand beside the key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from stackup.stackfile import models


@dataclass(frozen=True, slots=True)
class Unbuilt:
    """`neutral` are the values that change nothing; `advice` is what to do instead."""

    neutral: tuple[object, ...] = ()
    advice: str = "remove it to run without"


@dataclass(frozen=True, slots=True)
class Place:
    """A mapping of the file. `each` describes the values of a mapping by name, or the items of a list."""

    model: type[models.Model] | None = None
    unbuilt: Mapping[str, Unbuilt] = field(default_factory=dict)
    below: Mapping[str, Place] = field(default_factory=dict)
    each: Place | None = None

    def built(self) -> frozenset[str]:
        """The keys of the model, as written."""
        fields = self.model.model_fields if self.model else {}
        return frozenset(info.alias or name for name, info in fields.items())


def _keys(names: str, **special: Unbuilt) -> dict[str, Unbuilt]:
    return {**{name: Unbuilt() for name in names.split()}, **special}


_NO = Unbuilt(neutral=(False, "false"))
_YES = Unbuilt(neutral=(True, "true"))
_PRIVATE = Unbuilt(neutral=("private",))
_IMAGE = "remove it and give a command: a service without image and build runs the programs of this machine"

_SERVICE = Place(
    models.Service,
    _keys(
        "annotations blkio_config cap_add cap_drop cgroup_parent configs container_name cpu_count cpu_percent "
        "cpu_shares cpu_quota cpu_period cpu_rt_period cpu_rt_runtime cpus cpuset credential_spec device_cgroup_rules "
        "devices dns dns_opt dns_search domainname label_file expose extends provider external_links extra_hosts "
        "gpus group_add isolation links logging mac_address mem_limit mem_reservation mem_swappiness memswap_limit "
        "network_mode "
        "models oom_score_adj pids_limit platform post_start pre_start pre_stop pull_policy pull_refresh_after runtime "
        "security_opt shm_size secrets sysctls storage_opt ulimits volumes_from",
        image=Unbuilt(advice=_IMAGE),
        build=Unbuilt(advice=_IMAGE),
        tmpfs=Unbuilt(advice="use volumes: [{type: tmpfs, target: PATH}]"),
        attach=_YES,
        cgroup=_PRIVATE,
        ipc=_PRIVATE,
        oom_kill_disable=_NO,
        pid=Unbuilt(neutral=(None,)),
        privileged=_NO,
        read_only=_NO,
        stdin_open=_NO,
        tty=_NO,
        use_api_socket=_NO,
        userns_mode=Unbuilt(neutral=("",)),
        uts=Unbuilt(neutral=("",)),
    ),
    below={
        "depends_on": Place(each=Place(models.Dependency)),
        "env_file": Place(each=Place(models.EnvFile)),
        "healthcheck": Place(models.Healthcheck, below={"x-stackup": Place(models.NoExtension)}),
        "ports": Place(each=Place(models.Port, _keys("name app_protocol"))),
        "networks": Place(
            each=Place(
                models.ServiceNetwork,
                _keys(
                    "ipv4_address ipv6_address link_local_ips mac_address interface_name driver_opts priority "
                    "gw_priority"
                ),
            )
        ),
        "volumes": Place(
            each=Place(
                models.ServiceVolume,
                _keys("image"),
                below={
                    "bind": Place(
                        models.BindOptions,
                        _keys(
                            "selinux",
                            propagation=Unbuilt(neutral=("rprivate",)),
                            recursive=Unbuilt(neutral=("enabled",)),
                        ),
                    ),
                    "volume": Place(models.VolumeOptions, _keys("subpath labels")),
                    "tmpfs": Place(models.TmpfsOptions),
                },
            )
        ),
        "develop": Place(
            models.Develop,
            below={
                "watch": Place(
                    each=Place(
                        models.WatchRule,
                        _keys("exec", initial_sync=_NO),
                        below={"x-stackup": Place(models.NoExtension)},
                    )
                )
            },
        ),
        "deploy": Place(
            models.Deploy,
            _keys(
                "endpoint_mode labels rollback_config update_config resources restart_policy placement",
                mode=Unbuilt(neutral=("replicated",)),
            ),
        ),
        "x-stackup": Place(
            models.ServiceExtension,
            below={"rootfs": Place(models.HostRoot, {"cow": Unbuilt()})},
        ),
    },
)
_NETWORK = Place(
    models.Network,
    _keys("driver_opts ipam", external=_NO, internal=_NO, enable_ipv4=_YES, enable_ipv6=_NO),
    below={"x-stackup": Place(models.NoExtension)},
)
_VOLUME = Place(models.Volume, _keys("driver_opts"), below={"x-stackup": Place(models.NoExtension)})

STACK = Place(
    models.StackFile,
    _keys("include secrets configs models"),
    below={
        "services": Place(each=_SERVICE),
        "networks": Place(each=_NETWORK),
        "volumes": Place(each=_VOLUME),
        "x-stackup": Place(models.StackExtension),
    },
)
"""The top of the file."""
