#!/usr/bin/env python3
"""Hosts that send what they must not. Whatever it is, it gets the answer that the specification demands, and nobody
else is disturbed: after each case a well-behaved host still does I/O and the engine has no descriptor more than before.

With --table the cases are played and printed as Markdown; the table of PDUs stands in docs/testing.md.
"""

import asyncio
import os
import random
import sys
import unittest

import hostile_commands
import hostile_pdus
from engine_case import TIME_FACTOR, EngineCase, settled
from hostile_site import ENTRIES, HOSTILE, Case, Site
from nvme_tcp_host import (ANSWER_TIMEOUT_S, CONNECT, FABRICS, WRITE, Controller, HostError, QueuePair, RawConnection,
                           host_id_of, host_nqn_of)
from nvme_tcp_pdu import CAPSULE_CMD, PSDT_SGL, SGL_IN_CAPSULE, Framing, connect_data, h2c_data, ic_req, sqe

CASE_TIMEOUT_S = 90 * TIME_FACTOR
TABLES = {"PDUs": lambda: hostile_pdus.cases() + hostile_commands.transport_cases(), "commands": hostile_commands.cases}
PLAIN = Framing()


class Hostile(EngineCase):
    async def asyncSetUp(self) -> None:
        await super().asyncSetUp()
        self.under_test = self.engine()
        nqn = self.under_test.create_and_share("malloc:///victim?size_mb=8")
        self.site = Site(self.under_test, nqn)
        healthy = self.under_test.create_and_share("malloc:///healthy?size_mb=8")
        # One of each kind of connection before the baseline is taken: what the first one allocates stays.
        (await self.site.controller()).reset()
        self.healthy = await Controller.connect("127.0.0.1", self.under_test.port, healthy, io_queues=2)
        await self.expect_others_well()
        self.baseline = 0
        await self.quiet()
        self.baseline = self.under_test.descriptors()

    async def quiet(self) -> None:
        """The victim has no controller."""
        def victims() -> list:
            return [each for subsystem in self.under_test.json_rpc("nvmf_get_subsystems")
                    if subsystem["nqn"] == self.site.nqn for each in subsystem["controllers"]]
        await settled("the victim's controllers are gone", lambda: not victims(), victims)

    async def asyncTearDown(self) -> None:
        await self.healthy.close()

    async def expect_others_well(self) -> None:
        block = os.urandom(512)
        for queue in (0, 1):
            await self.healthy.write(8 + queue, block, queue=queue, by_r2t=bool(queue))
            self.assertEqual(await self.healthy.read(8 + queue, 1, queue=1 - queue), block)
        self.assertTrue(self.under_test.alive)

    async def expect_as_before(self) -> None:
        await self.expect_others_well()
        await self.expect_descriptors(self.under_test, self.baseline)

    async def play(self, case: Case) -> str:
        try:
            return await asyncio.wait_for(case.run(self.site), CASE_TIMEOUT_S)
        except (HostError, TimeoutError) as error:
            return f"{type(error).__name__}: {error}"

    async def test_the_tables(self) -> None:
        for name, cases in TABLES.items():
            for case in cases():
                with self.subTest(f"{name}: {case.sent}"):
                    got = await self.play(case)
                    await self.expect_as_before()
                    self.assertEqual(got, case.demanded)

    async def test_streams_cut_at_every_byte(self) -> None:
        controller = await self.site.controller()
        data = connect_data(host_id_of(HOSTILE), self.site.nqn.encode(), host_nqn_of(HOSTILE).encode(), controller.cntlid)
        io_session = (ic_req() + PLAIN.encode(CAPSULE_CMD, 0, sqe(
            FABRICS, 0, nsid=CONNECT, sgl=(0, len(data), SGL_IN_CAPSULE), cdw10=2 << 16, cdw11=ENTRIES - 1), data) +
            PLAIN.encode(CAPSULE_CMD, 0, sqe(WRITE, 1, nsid=1, sgl=(0, 512, SGL_IN_CAPSULE)), bytes(512)) +
            PLAIN.encode(CAPSULE_CMD, 0, sqe(WRITE, 2, nsid=1, sgl=(0, 512, 0x5A))) + h2c_data(PLAIN, 2, 0, 0, bytes(512)))
        for length in range(len(io_session)):
            connection = await self.site.raw()
            connection.send(io_session[:length])
            if length % 3 == 0:
                connection.reset()
            else:
                await connection.close()
            if length % 200 == 0:
                await self.expect_others_well()
        await controller.read(0, 1)
        await controller.close()
        await self.expect_as_before()

    async def test_streams_byte_by_byte(self) -> None:
        """As slow as a stream can come, it is understood."""
        connection = await self.site.raw()
        data = connect_data(host_id_of(HOSTILE), self.site.nqn.encode(), host_nqn_of(HOSTILE).encode())
        session = ic_req() + PLAIN.encode(CAPSULE_CMD, 0, sqe(
            FABRICS, 0, nsid=CONNECT, sgl=(0, len(data), SGL_IN_CAPSULE), cdw11=ENTRIES - 1), data)
        connection.writer.get_extra_info("socket").setsockopt(6, 1, 1)  # TCP_NODELAY
        for byte in session:
            connection.send(bytes([byte]))
            await connection.writer.drain()
            await asyncio.sleep(0)
        for name in ("ICResp", "CapsuleResp: Success (0/00h)"):
            self.assertEqual((await connection.receive()).describe(), name)
        await connection.close()
        await self.expect_as_before()

    async def test_random_bytes(self) -> None:
        seed = int(os.environ.get("CAIRN_SEED", "1"))
        print(f"seed {seed}", file=sys.stderr)
        rounds = int(os.environ.get("CAIRN_ROUNDS", "300"))
        for number in range(seed, seed + rounds):
            with self.subTest(CAIRN_SEED=number):
                await self.random_host(random.Random(number))
                if number % 20 == 0:
                    await self.expect_others_well()
        await self.expect_as_before()

    async def random_host(self, chance: random.Random) -> None:
        """A stream of a kind that is right up to a point."""
        kind = chance.choice(["bytes", "after ICReq", "capsules", "flipped"])
        if kind == "bytes":
            connection = await self.site.raw()
            connection.send(chance.randbytes(chance.randrange(1, 5000)))
        elif kind == "after ICReq":
            connection = await self.site.raw()
            connection.send(ic_req(digests=chance.randrange(4)) + chance.randbytes(chance.randrange(1, 5000)))
        else:
            controller = await self.site.controller(io_queues=1)
            connection = chance.choice(controller.queue_pairs)
            for _ in range(chance.randrange(1, 40)):
                connection.send(self.random_pdu(chance, flipped=kind == "flipped"))
            await self.vanish(chance, connection)
            controller.reset()
            return
        await self.vanish(chance, connection)

    @staticmethod
    def random_pdu(chance: random.Random, *, flipped: bool) -> bytes:
        if chance.random() < 0.2:
            pdu = h2c_data(PLAIN, chance.randrange(8), chance.randrange(8), 512 * chance.randrange(4), bytes(512))
        else:
            data = bytes(chance.choice([0, 0, 16, 512, 1024, 4096]))
            opcode = chance.choice([0, 1, 2, 5, 8, 9, 0x0D, 0x0E, 0x11, 0x15, 0x19, 6, 10, 12, 0x18, 0x7F, chance.randrange(256)])
            fields = {f"cdw{each}": chance.choice([0, 1, 7, 1 << 8, 1 << 16, chance.randrange(1 << 32)])
                      for each in range(10, 16)}
            sgl = chance.choice([(0, len(data), SGL_IN_CAPSULE), (0, 512 * chance.randrange(1, 64), 0x5A),
                                 (chance.randrange(1 << 20), chance.randrange(1 << 32), chance.randrange(256))])
            flags = chance.choice([PSDT_SGL] * 8 + [PSDT_SGL | 1, PSDT_SGL | 2, chance.randrange(256)])
            pdu = PLAIN.encode(CAPSULE_CMD, 0, sqe(opcode, chance.randrange(16), nsid=chance.choice([0, 1, 1, 1, 1, 2]),
                                                   flags=flags, sgl=sgl, **fields), data)
        if flipped and chance.random() < 0.5:
            at = chance.randrange(len(pdu))
            pdu = pdu[:at] + bytes([pdu[at] ^ 1 << chance.randrange(8)]) + pdu[at + 1:]
        return pdu

    @staticmethod
    async def vanish(chance: random.Random, connection: RawConnection) -> None:
        if chance.random() < 0.5:
            connection.reset()
        elif isinstance(connection, QueuePair):
            await connection.close()
        else:
            connection.writer.write_eof()
            try:
                await connection.receive_until_end()
            except HostError:
                pass  # what answers random bytes need not be in their order
            connection.reset()

    async def test_hosts_that_say_nothing(self) -> None:
        """Connections that do not come to Connect are closed after a while; those that did are not."""
        silent = await self.site.raw()
        half = await self.site.raw()
        half.send(ic_req()[:64])
        initialized = await self.site.initialized()
        for connection in (silent, half, initialized):
            end = await asyncio.wait_for(connection.receive_until_end(), 10 + ANSWER_TIMEOUT_S)
            self.assertEqual(end, [])
            connection.reset()
        await self.expect_as_before()


class Tables(Hostile):
    """Prints instead of testing."""

    async def print_tables(self) -> None:
        for name, cases in TABLES.items():
            print(f"\n### Over the wire: {name}\n\n| Sent | Subject | What came back |\n|---|---|---|")
            for case in cases():
                got = await self.play(case)
                await self.expect_as_before()
                if got != case.demanded:
                    got += f" — **demanded: {case.demanded}**"
                print(f"| {case.sent} | {case.source} | {got} |")


def load_tests(loader: unittest.TestLoader, _tests, _pattern) -> unittest.TestSuite:
    return loader.loadTestsFromTestCase(Hostile)


if __name__ == "__main__":
    if "--table" in sys.argv:
        outcome = unittest.TextTestRunner(stream=sys.stderr).run(Tables("print_tables"))
        sys.exit(not outcome.wasSuccessful())
    unittest.main()
