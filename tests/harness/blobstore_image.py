"""The pool's on-disk format once more: a reader and a writer of images that share nothing with the product.

Written from the format's description alone (docs/pool-format.md has the same facts in other words), so that what the product
writes is read by somebody else, and what somebody else writes is read by the product.
"""

import hashlib
import struct
from dataclasses import dataclass, field

PAGE = 4096
NO_PAGE = 0xFFFFFFFF
NO_BLOB = 0xFFFFFFFFFFFFFFFF
ENTRIES = 512  # clusters of an extent page

PADDING, EXTENT_RLE, XATTR, FLAGS, XATTR_INTERNAL, EXTENT_TABLE, EXTENT_PAGE = range(7)

THIN, INTERNAL_XATTRS, TABLE = 1, 2, 4  # invalid_flags
READ_ONLY = 1  # data_ro_flags
CLEAR_NONE, CLEAR_UNMAP = 1, 2  # md_ro_flags

SUPER = struct.Struct("<8sIIIQIIIIIII16sIIQI")  # up to byte 92
assert SUPER.size == 92


def _crc_table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


_TABLE = _crc_table()


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = (crc >> 8) ^ _TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


assert crc32c(b"123456789") == 0xE3069283


class FormatError(Exception):
    """The image breaks a rule of the format."""


def require(condition: bool, what: str) -> None:
    if not condition:
        raise FormatError(what)


def sealed(page: bytes) -> bytes:
    body = page[:PAGE - 4].ljust(PAGE - 4, b"\0")
    return body + struct.pack("<I", crc32c(body))


def blob_id(root: int) -> int:
    return 1 << 32 | root


def divide_up(value: int, divisor: int) -> int:
    return -(-value // divisor)


@dataclass
class Layout:
    size: int
    block: int
    cluster: int
    clusters: int
    md_len: int
    page_mask: tuple[int, int]
    cluster_mask: tuple[int, int]
    blobid_mask: tuple[int, int]
    md_start: int

    @staticmethod
    def plan(size: int, cluster: int, block: int, ratio_percent: int) -> "Layout":
        clusters = size // block // (cluster // block)
        md_len = ratio_percent * clusters // 100
        pages = lambda bits: divide_up(5 + divide_up(bits, 8), PAGE)  # noqa: E731
        page_mask = (1, pages(md_len))
        cluster_mask = (1 + pages(md_len), pages(clusters))
        blobid_start = cluster_mask[0] + max(pages(clusters), pages(md_len))
        return Layout(size, block, cluster, clusters, md_len, page_mask, cluster_mask, (blobid_start, pages(md_len)),
                      blobid_start + pages(md_len))

    @property
    def md_clusters(self) -> int:
        return divide_up(self.md_start + self.md_len, self.cluster // PAGE)


@dataclass
class Blob:
    id: int
    invalid_flags: int = TABLE
    data_ro_flags: int = 0
    md_ro_flags: int = 0
    xattrs: dict[str, bytes] = field(default_factory=dict)
    internal: dict[str, bytes] = field(default_factory=dict)
    chain: list[int] = field(default_factory=list)
    extent_pages: list[int] = field(default_factory=list)  # 0: absent
    clusters: list[int] = field(default_factory=list)  # 0: unallocated

    @property
    def thin(self) -> bool:
        return bool(self.invalid_flags & THIN)

    def text(self, name: str) -> str | None:
        value = self.xattrs.get(name, b"").rstrip(b"\0")
        return value.decode() if value else None

    def link(self, name: str) -> int | None:
        value = self.internal.get(name)
        if value is None:
            return None
        require(len(value) == 8, f"{name} of {self.id:#x} has {len(value)} bytes")
        return struct.unpack("<Q", value)[0]

    @property
    def name(self) -> str | None:
        return self.text("name")

    @property
    def uuid(self) -> str | None:
        return self.text("uuid")

    @property
    def parent(self) -> int | None:
        return self.link("SNAP")


# --- reading


def _descriptors(page: bytes):
    at = 16
    while 4088 - at >= 5:
        kind, length = struct.unpack_from("<BI", page, at)
        if kind == PADDING and length == 0:
            return
        require(at + 5 + length <= 4088, f"descriptor {kind} at byte {at} of its page is too long: {length}")
        if kind != PADDING:
            yield kind, page[at + 5:at + 5 + length]
        at += 5 + length


class PoolImage:
    """A pool read from a file. Everything is checked; FormatError says what is wrong.

    `blobs` are those of a clean pool's mask, or those that a recovery finds; what an interrupted snapshot or removal has left is
    resolved as a recovery does.
    """

    def __init__(self, path):
        self._file = open(path, "rb")
        try:
            self._load()
        except BaseException:
            self._file.close()
            raise

    def _load(self) -> None:
        self._file.seek(0, 2)
        self.device_size = self._file.tell()
        self._read_super()
        self._read_blobs()
        if self.masks_valid:
            self._check_masks()
        self._check_owners()
        self._read_identity()

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> "PoolImage":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def _read(self, offset: int, length: int) -> bytes:
        self._file.seek(offset)
        return self._file.read(length).ljust(length, b"\0")

    def _read_super(self) -> None:
        page = self._read(0, PAGE)
        (signature, self.version, length, clean, self.super_blob, cluster, page_start, page_len, cluster_start, cluster_len,
         md_start, md_len, bstype, blobid_start, blobid_len, size, io_unit) = SUPER.unpack(page[:92])
        require(signature == b"SPDKBLOB", f"signature {signature!r}")
        require(1 <= self.version <= 3, f"version {self.version}")
        require(struct.unpack("<I", page[4092:])[0] == crc32c(page[:4092]), "CRC of the super block")
        require(bstype == b"LVOLSTORE".ljust(16, b"\0"), f"bstype {bstype!r}")
        require(length == PAGE, f"length {length}")
        require(not any(page[92:4092]), "reserved bytes of the super block")
        size = size or self.device_size
        require(size <= self.device_size, f"size {size} of a device of {self.device_size}")
        self.clean = clean == 1
        self.masks_valid = self.clean and blobid_len != 0
        self.layout = Layout(size, io_unit or PAGE, cluster, size // cluster, md_len, (page_start, page_len),
                             (cluster_start, cluster_len), (blobid_start, blobid_len), md_start)

    def _mask(self, region: tuple[int, int], kind: int, bits: int) -> set[int]:
        data = self._read(region[0] * PAGE, region[1] * PAGE)
        found, length = struct.unpack_from("<BI", data)
        require(found == kind, f"mask {kind} has type {found}")
        require(length >= bits if kind == 1 else length == bits, f"mask {kind} has {length} bits, not {bits}")
        marks = {i for i in range(length) if data[5 + i // 8] >> i % 8 & 1}
        require(not any(data[5 + divide_up(length, 8):]), f"mask {kind} goes on behind its end")
        return {i for i in marks if i < bits}

    def md_page(self, index: int) -> bytes | None:
        """The page if its CRC fits."""
        require(index < self.layout.md_len, f"metadata page {index}")
        page = self._read((self.layout.md_start + index) * PAGE, PAGE)
        if not any(page) or struct.unpack("<I", page[4092:])[0] != crc32c(page[:4092]):
            return None
        return page

    def _read_blobs(self) -> None:
        layout = self.layout
        if self.masks_valid:
            self.used_pages = self._mask(layout.page_mask, 0, layout.md_len)
            self.used_clusters = self._mask(layout.cluster_mask, 1, layout.clusters)
            self.used_blobids = self._mask(layout.blobid_mask, 2, layout.md_len)
            roots = sorted(self.used_blobids)
        else:
            roots = [i for i in range(layout.md_len) if self._is_root(i)]
        self.blobs = {blob_id(root): self._read_blob(root) for root in roots}
        for blob in list(self.blobs.values()):
            self._resolve_pending(blob)

    def _is_root(self, index: int) -> bool:
        head = self._read((self.layout.md_start + index) * PAGE, 12)
        identifier, sequence = struct.unpack("<QI", head)
        return identifier == blob_id(index) and sequence == 0 and self.md_page(index) is not None

    def _read_blob(self, root: int) -> Blob:
        blob = Blob(blob_id(root), invalid_flags=0)
        runs, table, num_clusters = [], [], None
        index = root
        while index != NO_PAGE:
            page = self.md_page(index)
            require(page is not None, f"blob {blob.id:#x}: metadata page {index} is damaged")
            identifier, sequence, reserved = struct.unpack_from("<QII", page)
            require(identifier == blob.id, f"blob {blob.id:#x}: metadata page {index} is of {identifier:#x}")
            require(sequence == len(blob.chain), f"blob {blob.id:#x}: metadata page {index} has sequence {sequence}")
            require(reserved == 0, f"metadata page {index}: reserved bytes")
            blob.chain.append(index)
            for kind, body in _descriptors(page):
                if kind == FLAGS:
                    require(len(body) == 24, "length of FLAGS")
                    blob.invalid_flags, blob.data_ro_flags, blob.md_ro_flags = struct.unpack("<QQQ", body)
                elif kind in (XATTR, XATTR_INTERNAL):
                    name_length, value_length = struct.unpack_from("<HH", body)
                    require(4 + name_length + value_length == len(body), "lengths of an xattr")
                    name = body[4:4 + name_length].decode()
                    target = blob.xattrs if kind == XATTR else blob.internal
                    require(name not in target, f"blob {blob.id:#x}: {name} is there twice")
                    target[name] = body[4 + name_length:]
                elif kind == EXTENT_RLE:
                    require(len(body) % 8 == 0 and body, "length of EXTENT_RLE")
                    runs += struct.iter_unpack("<II", body)
                elif kind == EXTENT_TABLE:
                    require(len(body) % 8 == 0 and len(body) >= 8, "length of EXTENT_TABLE")
                    count, = struct.unpack_from("<Q", body)
                    require(num_clusters in (None, count), "EXTENT_TABLEs disagree")
                    num_clusters = count
                    table += struct.iter_unpack("<II", body[8:])
                else:
                    raise FormatError(f"blob {blob.id:#x}: descriptor of type {kind}")
            index, = struct.unpack_from("<I", page, 4088)
        require(blob.invalid_flags & ~7 == 0, f"blob {blob.id:#x}: invalid_flags {blob.invalid_flags:#x}")
        if blob.invalid_flags & TABLE:
            require(num_clusters is not None and not runs, f"blob {blob.id:#x}: no EXTENT_TABLE")
            self._read_extent_pages(blob, table, num_clusters)
        else:
            require(num_clusters is None, f"blob {blob.id:#x}: an EXTENT_TABLE without its flag")
            for first, length in runs:
                blob.clusters += [first + i if first else 0 for i in range(length)]
        require(blob.thin or 0 not in blob.clusters, f"blob {blob.id:#x}: thick with unallocated clusters")
        return blob

    def _read_extent_pages(self, blob: Blob, table: list[tuple[int, int]], num_clusters: int) -> None:
        for page_index, count in table:
            require(count == 1 or page_index == 0, f"blob {blob.id:#x}: run of {count} extent pages at {page_index}")
            blob.extent_pages += [page_index] * count
        require(len(blob.extent_pages) == divide_up(num_clusters, ENTRIES), f"blob {blob.id:#x}: length of its table")
        for number, index in enumerate(blob.extent_pages):
            size = min(ENTRIES, num_clusters - number * ENTRIES)
            if index == 0:
                blob.clusters += [0] * size
                continue
            page = self.md_page(index)
            require(page is not None, f"blob {blob.id:#x}: extent page {index} is damaged")
            _, sequence = struct.unpack_from("<QI", page)
            descriptors = list(_descriptors(page))
            require(sequence == 0 and len(descriptors) == 1 and descriptors[0][0] == EXTENT_PAGE,
                    f"blob {blob.id:#x}: metadata page {index} is no extent page")
            body = descriptors[0][1]
            start, = struct.unpack_from("<I", body)
            require(start == number * ENTRIES, f"blob {blob.id:#x}: extent page {index} starts at {start}")
            entries = [entry for entry, in struct.iter_unpack("<I", body[4:])]
            require(len(entries) >= size, f"blob {blob.id:#x}: extent page {index} has {len(entries)} entries")
            blob.clusters += entries[:size]

    def _resolve_pending(self, blob: Blob) -> None:
        pending = blob.link("SNAPRM")
        pending = blob.link("SNAPTMP") if pending is None else pending
        if pending is None:
            return
        require(not self.clean, f"blob {blob.id:#x}: unfinished in a clean pool")
        other = self.blobs.get(pending)
        if other is not None and other.parent == blob.id:
            blob.data_ro_flags |= READ_ONLY
        else:
            del self.blobs[blob.id]

    def _check_owners(self) -> None:
        owners, pages = {}, {}
        for blob in self.blobs.values():
            for cluster in filter(None, blob.clusters):
                require(self.layout.md_clusters <= cluster < self.layout.clusters, f"cluster {cluster} of {blob.id:#x}")
                require(cluster not in owners, f"cluster {cluster} of {blob.id:#x} and {owners.get(cluster, 0):#x}")
                owners[cluster] = blob.id
            for page in blob.chain + [page for page in blob.extent_pages if page]:
                require(page not in pages, f"metadata page {page} of {blob.id:#x} and {pages.get(page, 0):#x}")
                pages[page] = blob.id
            if blob.parent is not None:
                parent = self.blobs.get(blob.parent)
                require(parent is not None and parent.data_ro_flags & READ_ONLY, f"parent of {blob.id:#x}")
        self.owned_clusters, self.owned_pages = set(owners), set(pages)

    def _check_masks(self) -> None:
        pages = {page for blob in self.blobs.values() for page in blob.chain + blob.extent_pages if page or
                 page in blob.chain}
        clusters = {cluster for blob in self.blobs.values() for cluster in blob.clusters if cluster}
        require(self.used_pages == pages, f"used pages {sorted(self.used_pages ^ pages)[:20]}")
        require(self.used_clusters == clusters | set(range(self.layout.md_clusters)), "used clusters")
        for index in set(range(self.layout.md_len)) - pages:
            require(not self._is_root(index), f"metadata page {index}: a root that is not in the mask")

    def _read_identity(self) -> None:
        require(self.super_blob in self.blobs, f"super blob {self.super_blob:#x}")
        xattrs = self.blobs[self.super_blob].xattrs
        require(len(xattrs.get("uuid", b"")) == 37 and xattrs["uuid"][36] == 0, "uuid of the pool")
        require(1 < len(xattrs.get("name", b"")) <= 64 and xattrs["name"][-1] == 0, "name of the pool")
        self.name = xattrs["name"].rstrip(b"\0").decode()
        self.uuid = xattrs["uuid"][:36].decode()
        for blob in self.lvols():
            require(0 < len(blob.xattrs.get("name", b"")) <= 64 and blob.name is not None, f"name of {blob.id:#x}")

    def lvols(self) -> list[Blob]:
        return [blob for identifier, blob in sorted(self.blobs.items()) if identifier != self.super_blob]

    def lvol(self, name: str) -> Blob:
        found = [blob for blob in self.lvols() if blob.name == name]
        require(len(found) == 1, f"{len(found)} lvols named {name}")
        return found[0]

    def cluster_of(self, blob: Blob, index: int) -> int:
        """The device's cluster with the contents: the blob's own or an ancestor's; 0 if there are only zeroes."""
        at = blob
        while at is not None:
            if index < len(at.clusters) and at.clusters[index]:
                return at.clusters[index]
            at = self.blobs[at.parent] if at.parent is not None else None
        return 0

    def read(self, blob: Blob, offset: int, length: int) -> bytes:
        size, out = self.layout.cluster, b""
        while length:
            within = offset % size
            count = min(length, size - within)
            cluster = self.cluster_of(blob, offset // size)
            out += self._read(cluster * size + within, count) if cluster else bytes(count)
            offset, length = offset + count, length - count
        return out

    def digest(self, blob: Blob) -> str:
        """SHA-256 of the whole volume."""
        sha = hashlib.sha256()
        for index in range(len(blob.clusters)):
            sha.update(self.read(blob, index * self.layout.cluster, self.layout.cluster))
        return sha.hexdigest()


# --- writing


def _descriptor(kind: int, body: bytes) -> bytes:
    return struct.pack("<BI", kind, len(body)) + body


class PoolWriter:
    """Makes a pool in a new sparse file. Lvols are added in order; close() writes masks and super block."""

    def __init__(self, path, size: int, name: str, uuid: str, cluster: int = 4 << 20, block: int = 512,
                 ratio_percent: int = 100, clear: int = CLEAR_NONE):
        self.layout = Layout.plan(size, cluster, block, ratio_percent)
        self._clear = clear
        self._file = open(path, "w+b")
        self._file.truncate(size)
        self._pages: set[int] = set()
        self._clusters = set(range(self.layout.md_clusters))
        self._roots: set[int] = set()
        root = self._take_page()
        blob = Blob(blob_id(root), xattrs={"uuid": uuid.encode() + b"\0", "name": name.encode() + b"\0"})
        self._put_blob(blob)

    def _take_page(self, lowest: int = 0) -> int:
        page = next(i for i in range(lowest, self.layout.md_len) if i not in self._pages)
        self._pages.add(page)
        return page

    def take_cluster(self) -> int:
        cluster = next(i for i in range(self.layout.clusters) if i not in self._clusters)
        self._clusters.add(cluster)
        return cluster

    def _write(self, offset: int, data: bytes) -> None:
        self._file.seek(offset)
        self._file.write(data)

    def put_md_page(self, index: int, identifier: int, sequence: int, descriptors: bytes, following: int = NO_PAGE) -> None:
        page = struct.pack("<QII", identifier, sequence, 0) + descriptors.ljust(4072, b"\0") + struct.pack("<I", following)
        self._write((self.layout.md_start + index) * PAGE, sealed(page))

    def _put_blob(self, blob: Blob) -> None:
        root = blob.id & 0xFFFFFFFF
        self._roots.add(root)
        self._pages.add(root)
        pieces = [_descriptor(FLAGS, struct.pack("<QQQ", blob.invalid_flags, blob.data_ro_flags, blob.md_ro_flags))]
        for kind, xattrs in ((XATTR, blob.xattrs), (XATTR_INTERNAL, blob.internal)):
            for name, value in xattrs.items():
                encoded = name.encode()
                pieces.append(_descriptor(kind, struct.pack("<HH", len(encoded), len(value)) + encoded + value))
        if blob.invalid_flags & TABLE:
            pieces += self._extent_table(blob)
        elif blob.clusters:
            pieces += self._runs(blob)
        pages, current = [], b""
        for piece in pieces:
            if len(current) + len(piece) > 4072:
                pages.append(current)
                current = b""
            current += piece
        pages.append(current)
        blob.chain = [root] + [self._take_page() for _ in pages[1:]]
        for sequence, descriptors in enumerate(pages):
            following = blob.chain[sequence + 1] if sequence + 1 < len(pages) else NO_PAGE
            self.put_md_page(blob.chain[sequence], blob.id, sequence, descriptors, following)

    def _extent_table(self, blob: Blob) -> list[bytes]:
        entries: list[list[int]] = []
        blob.extent_pages = []
        for start in range(0, len(blob.clusters), ENTRIES):
            clusters = blob.clusters[start:start + ENTRIES]
            if not any(clusters):
                blob.extent_pages.append(0)
                if entries and entries[-1][0] == 0:
                    entries[-1][1] += 1
                else:
                    entries.append([0, 1])
                continue
            page = self._take_page(1)
            self.put_md_page(page, blob.id, 0,
                             _descriptor(EXTENT_PAGE, struct.pack(f"<I{len(clusters)}I", start, *clusters)))
            blob.extent_pages.append(page)
            entries.append([page, 1])
        return self._pair_descriptors(EXTENT_TABLE, struct.pack("<Q", len(blob.clusters)), entries) or [
            _descriptor(EXTENT_TABLE, struct.pack("<Q", 0))]

    def _runs(self, blob: Blob) -> list[bytes]:
        runs: list[list[int]] = []
        for cluster in blob.clusters:
            if runs and (cluster == 0 == runs[-1][0] or cluster != 0 != runs[-1][0] and cluster == sum(runs[-1])):
                runs[-1][1] += 1
            else:
                runs.append([cluster, 1])
        return self._pair_descriptors(EXTENT_RLE, b"", runs)

    @staticmethod
    def _pair_descriptors(kind: int, prefix: bytes, pairs: list[list[int]], per_piece: int = 100) -> list[bytes]:
        """Small pieces, so that they are spread over pages as they fit."""
        return [_descriptor(kind, prefix + b"".join(struct.pack("<II", *pair) for pair in pairs[i:i + per_piece]))
                for i in range(0, len(pairs), per_piece)]

    def add_lvol(self, name: str, uuid: str, clusters: int, data: dict[int, bytes] | None = None, thin: bool = True,
                 parent: int | None = None, read_only: bool = False, table: bool = True,
                 xattrs: dict[str, bytes] | None = None) -> Blob:
        """`data`: contents by cluster index, which are allocated (all of a thick one's are); a parent's blob id makes a clone."""
        data = data or {}
        root = self._take_page(1)
        blob = Blob(blob_id(root), (THIN if thin else 0) | (TABLE if table else 0), READ_ONLY if read_only else 0, self._clear)
        blob.xattrs = {"name": name.encode().ljust(64, b"\0"), "uuid": uuid.encode() + b"\0"} | (xattrs or {})
        if parent is not None:
            blob.internal["SNAP"] = struct.pack("<Q", parent)
            blob.invalid_flags |= INTERNAL_XATTRS
        blob.clusters = [self.take_cluster() if index in data or not thin else 0 for index in range(clusters)]
        for index, content in data.items():
            self._write(blob.clusters[index] * self.layout.cluster, content)
        self._put_blob(blob)
        return blob

    def _put_mask(self, region: tuple[int, int], kind: int, bits: int, marks: set[int]) -> None:
        data = bytearray(struct.pack("<BI", kind, bits).ljust(region[1] * PAGE, b"\0"))
        for mark in marks:
            data[5 + mark // 8] |= 1 << mark % 8
        self._write(region[0] * PAGE, bytes(data))

    def close(self, clean: bool = True, version: int = 3) -> None:
        layout = self.layout
        if clean:
            self._put_mask(layout.page_mask, 0, layout.md_len, self._pages)
            self._put_mask(layout.cluster_mask, 1, layout.clusters, self._clusters)
            self._put_mask(layout.blobid_mask, 2, layout.md_len, self._roots)
        blobid_mask = layout.blobid_mask if version >= 3 else (0, 0)
        self._write(0, sealed(SUPER.pack(b"SPDKBLOB", version, PAGE, int(clean), blob_id(0), layout.cluster,
                                         *layout.page_mask, *layout.cluster_mask, layout.md_start, layout.md_len, b"LVOLSTORE",
                                         *blobid_mask, layout.size if version >= 3 else 0,
                                         layout.block if version >= 3 else 0)))
        self._file.close()
