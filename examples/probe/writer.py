#!/usr/bin/env python3
"""Beat on a slot of a probe page, see docs/probe-abi.md, for each line of the input: writer.py NAME [FILE [SECONDS]]."""
import fcntl, mmap, os, re, stat, struct, sys, time
from reader import FLOCK, FOREIGN, MAGIC, MOVING, VERSION, YEAR, Page, boot_hash, now, start_time, store, swap, u64

STARTING, LIVE, READY, DRAINING, STOPPED, SEQ_CST, F_OFD_SETLK = 1, 2, 3, 4, 5, 5, 37


class Writer(Page):  # this process' way to a page, which it may share with others of its user
    def __init__(self, path):
        self.path = path
        for _ in range(200):  # somebody may be making or removing it just now
            self.file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
            if not stat.S_ISREG((mine := os.fstat(self.file)).st_mode) or mine.st_uid != os.geteuid():
                raise ValueError(f"{path} is no regular file of this user")
            alone = self.lock(fcntl.F_WRLCK)
            if (alone or self.lock(fcntl.F_RDLCK)) and self.is_at_path():
                break
            os.close(self.file)
            time.sleep(0.005)
        else:
            raise BlockingIOError(f"{path} belongs to another process")
        if alone:
            os.ftruncate(self.file, 4096)
        super().__init__(self.file, mmap.MAP_SHARED)
        pid, start, space = os.getpid(), start_time(os.getpid()), os.stat("/proc/self/ns/pid").st_ino
        if alone:  # then what is there is dead: the magic goes first and comes last
            for i, word in enumerate([0, VERSION, boot_hash(), pid, start, space, 0, now()] + [0] * 504):
                self.store(8 * i, word)
            self.store(0, MAGIC)
            self.lock(fcntl.F_RDLCK)  # lets others in
        if [self.word(0), self.word(8), self.word(16)] != [MAGIC, VERSION, boot_hash()]:
            raise ValueError(f"{path} is in use, and no probe page of version 2")
        self.owner = pid | start % 2**40 << 24 | (FOREIGN if self.apart() else 0)

    def store(self, offset, word):
        store(self.base + offset, word, SEQ_CST)

    def is_at_path(self):
        return os.path.lexists(self.path) and os.path.samestat(os.fstat(self.file), os.lstat(self.path))

    def lock(self, kind, at=0, length=128):  # whether we got it
        try:
            return bool(fcntl.fcntl(self.file, F_OFD_SETLK, struct.pack(FLOCK, kind, 0, at, length, 0)))
        except (BlockingIOError, PermissionError):
            return False

    def take(self, name, allowed):  # claims a slot for a loop that beats at least every so many nanoseconds
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,23}", name) or not 0 < allowed <= YEAR:
            raise ValueError(f"a slot cannot be called {name!r} or be {allowed} ns old")
        same = [s for s in self.slots() if s.name == name]
        taken = any(s.alive is not False for s in same)
        for at, was in [] if taken else [(s.at, s.owner) for s in same] + [(at, 0) for at in range(128, 4096, 64)]:
            if swap(self.base + at, u64(was), self.owner | MOVING, SEQ_CST, SEQ_CST):
                break
        else:
            raise FileExistsError(f"another process has the slot {name}, or {self.path} is full")
        try:  # shows other process id namespaces that we live
            fcntl.fcntl(self.file, F_OFD_SETLK, struct.pack(FLOCK, fcntl.F_WRLCK, 0, at, 64, 0))
        except OSError:
            self.store(at, was)
            raise
        self.store(at + 8, self.word(at + 8) + 0x100 & 0xFFFFFF00)
        for i, word in enumerate([allowed, 0, *struct.unpack("3Q", name.encode().ljust(24, b"\0"))]):
            self.store(at + 24 + 8 * i, word)
        self.set(at, STARTING)
        self.store(at, self.owner)
        if any(s.alive is not False for s in self.slots() if s.name == name and s.at != at):
            self.release(at)
            raise FileExistsError(f"another process took the slot {name} at the same time")
        return at

    def beat(self, at):
        self.store(at + 16, now())

    def set(self, at, state, reason=0):
        self.beat(at)
        self.store(at + 8, self.word(at + 8) & 0xFFFFFF00 | state & 0xFF | (reason & 0xFFFF) << 32)

    def release(self, at):
        self.store(at, self.owner | MOVING)
        self.lock(fcntl.F_UNLCK, at, 64)
        self.store(at, 0)

    def close(self):  # after all releases
        if self.lock(fcntl.F_WRLCK) and self.is_at_path():
            os.unlink(self.path)
        self.lock(fcntl.F_UNLCK)


if __name__ == "__main__":
    writer = Writer(*sys.argv[2:3] or ["/dev/shm/dockless"])
    slot = writer.take(sys.argv[1], int(*sys.argv[3:] or ["3"]) * 10**9)
    writer.set(slot, READY)
    print("ready", flush=True)
    for _ in sys.stdin:  # a line is a round of the loop
        writer.beat(slot)
    writer.release(slot)
    writer.close()
