#!/usr/bin/env python3
"""Answer whether a probe page is live or ready, as dockless-probe does: reader.py live|ready [FILE].
docs/probe-abi.md describes the page. Python has no atomic operations of its own; libatomic (Debian: libatomic1) has."""
import collections, ctypes, fcntl, functools, mmap, os, re, stat, struct, sys, time

MAGIC, VERSION, MOVING, FOREIGN, YEAR = 0x7373656C6B636F64, 2 | 62 << 32, 1 << 22, 1 << 23, 365 * 24 * 3600 * 10**9
STATES = ["in an unknown state", "starting", "live", "ready", "draining", "stopped"]
F_OFD_GETLK, FLOCK = 36, "hhqqixxxx"  # see fcntl(2)
atomic, u64, order, address = ctypes.CDLL("libatomic.so.1"), ctypes.c_uint64, ctypes.c_int, ctypes.c_void_p
load, store, swap = (getattr(atomic, f"__atomic_{what}_8") for what in ("load", "store", "compare_exchange"))
load.argtypes, load.restype, store.argtypes = (address, order), u64, (address, u64, order)
swap.argtypes, swap.restype = (address, ctypes.POINTER(u64), u64, order, order), ctypes.c_bool
now = functools.partial(time.clock_gettime_ns, time.CLOCK_BOOTTIME)
Slot = collections.namedtuple("Slot", "at owner name state reason beat age allowed step counter pid alive")


def boot_hash():
    h = 0xCBF29CE484222325
    for c in open("/proc/sys/kernel/random/boot_id", "rb").read()[:36]:
        h = (h ^ c) * 0x100000001B3 % 2**64
    return h


def start_time(pid):  # in clock ticks since boot; 0 when there is no such process or it is dead
    try:
        fields = open(f"/proc/{pid}/stat", "rb").read().rsplit(b")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        os.stat("/proc/self/stat")  # without a /proc there is no telling
        return 0
    return 0 if fields[0] in (b"Z", b"X", b"x") else int(fields[19])


class Page:
    owner = None  # whoever looks, if it has slots

    def __init__(self, file, flags=mmap.MAP_PRIVATE):
        # Private and writable, or ctypes takes no address of it. Until we write, all others see the same.
        if not stat.S_ISREG(os.fstat(file).st_mode) or os.fstat(file).st_size != 4096:
            raise ValueError("not a probe page, which is a file of 4096 bytes")
        self.file, self.map = file, mmap.mmap(file, 4096, flags, mmap.PROT_READ | mmap.PROT_WRITE)
        self.base = ctypes.addressof(ctypes.c_char.from_buffer(self.map))

    def word(self, offset):
        return load(self.base + offset, 2)  # acquire

    def apart(self):  # whether we count processes differently than the page
        return self.word(40) not in (0, os.stat("/proc/self/ns/pid").st_ino)

    def alive(self, at, owner):  # whether a slot's owner is; None when that cannot be told
        try:
            if owner == self.owner:
                return True  # we see no lock that we hold
            if owner & FOREIGN or self.apart():
                asked = fcntl.fcntl(self.file, F_OFD_GETLK, struct.pack(FLOCK, fcntl.F_WRLCK, 0, at, 64, 0))
                return struct.unpack(FLOCK, asked)[0] != fcntl.F_UNLCK
            return start_time(owner & 0x3FFFFF) % 2**40 == owner >> 24 != 0
        except OSError:
            return None

    def slots(self):  # those in use, each of them whole; ages are in nanoseconds
        for at in range(128, 4096, 64):
            for turn in range(1000):  # as long as it changes hands while we look; at the end it is in doubt
                owner, status, beat, allowed, counter, *name = [self.word(at + 8 * i) for i in range(8)]
                alive = self.alive(at, owner) if owner and not owner & MOVING and turn < 999 else None
                if self.word(at + 8) & 0xFFFFFF00 == status & 0xFFFFFF00 and self.word(at) == owner:
                    break
            if owner and not owner & MOVING:
                name = re.sub(rb"[^A-Za-z0-9._-]", b"?", struct.pack("3Q", *name)[:23].split(b"\0")[0]).decode()
                yield Slot(at, owner, name, status & 255, status >> 32 & 0xFFFF, beat, now() - beat, allowed,
                           (status >> 48) * 10**6, counter, owner & 0x3FFFFF, alive)

    def ask(self, ready=False):  # whether the page is live, or ready, and one line that says why
        no, ages, fine = "not ready" if ready else "not live", [], [3] if ready else [1, 2, 3, 4]
        if (self.word(0), self.word(8)) != (MAGIC, VERSION):
            return False, f"{no}: it is no probe page of version 2"
        if self.word(16) != boot_hash():
            return False, f"{no}: the page is from before the last boot"
        for s in (s for s in self.slots() if s.state != 5):
            wrong = (f": cannot tell whether process {s.pid} is alive" if s.alive is None else
                     f": process {s.pid} is gone" if not s.alive else
                     " allows an age that makes no sense" if not 0 < s.allowed <= YEAR or s.step > 10**9 else
                     " has never beaten" if not 0 < s.beat < 2**63 else
                     f": last beat {s.age / 1e9:.1f}s ago, allowed {s.allowed / 1e9:.1f}s"
                     if not 0 <= s.age <= s.allowed + s.step else
                     f" is {STATES[s.state if s.state < 5 else 0]}" if s.state not in fine else "")
            if wrong:
                return False, f"{no}: slot {s.name}{wrong}"
            ages.append(f"{s.name} {s.age // 10**6}ms")
        return bool(ages), f"{no[4:]}: {', '.join(ages)}" if ages else f"{no}: no slot in use"


if __name__ == "__main__":
    try:
        page = Page(os.open(sys.argv[2] if len(sys.argv) > 2 else "/dev/shm/dockless", os.O_RDONLY | os.O_NONBLOCK))
        yes, line = page.ask(sys.argv[1] == "ready")
    except (OSError, ValueError) as problem:
        yes, line = False, f"not {sys.argv[1]}: {problem}"
    print(line)
    sys.exit(0 if yes else 1)
