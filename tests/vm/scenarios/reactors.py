"""Queue pairs spread over two reactors, all of them busy with the same device."""

from scenario import Rig, expect_equal, scenario


@scenario()
def two_reactors(rig: Rig) -> None:
    with rig.engine("-l", "0,1") as engine:
        nqn = engine.create_and_share("malloc:///spread?size_mb=64")
        controller = rig.host.connect(nqn, engine.port, queues=4)
        expect_equal(controller.io_queues, 4, "I/O queues")
        # One job a processor, so that Linux uses all queues.
        rig.fio(f"--filename={controller.device} --numjobs=4 --cpus_allowed=0-3 --cpus_allowed_policy=split "
                "--size=4M --offset_increment=16M --bs=4k-64k")
