"""Header and data digests: alone and together, with I/O on both sides of the in-capsule limit."""

from scenario import Rig, scenario


@scenario(quick_on=("6.1", "6.12"))
def digests(rig: Rig) -> None:
    with rig.engine() as engine:
        nqn = engine.create_and_share("malloc:///digests?size_mb=64")
        for options in ("--hdr-digest --data-digest", "--hdr-digest", "--data-digest"):
            controller = rig.host.connect(nqn, engine.port, options)
            rig.fio(f"--filename={controller.device} --size=8M --io_size=4M --bs=512-128k")
            rig.host.disconnect_all()
