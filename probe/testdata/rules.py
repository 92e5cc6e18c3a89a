"""rules.py FILE says in which way examples/probe errs, on a page that others have joined."""
import errno, os, sys, tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../../examples/probe"))
import reader, writer

path, wrong = sys.argv[1], []


def refused(what, error, how, *args):
    """how must fail with error."""
    try:
        wrong.append(f"{what}: {how(*args)}, want {error}")
    except Exception as problem:
        if error not in (type(problem), getattr(problem, "errno", None)):
            wrong.append(f"{what}: {problem!r}, want {error}")


def says(what, page, want):
    yes, line = page.ask()
    if yes or not line.startswith(want):
        wrong.append(f"{what}: {yes}, {line!r}, want {want!r}")


w = writer.Writer(path)
own = w.take("own", reader.YEAR)
refused("a name of our own", FileExistsError, w.take, "own", 1)
w.set(own, 2**32 - 1, 2**32 - 1)
if w.word(own + 8) & ~0xFFFFFF00 != 0xFFFF000000FF or w.word(own) != w.owner:
    wrong.append(f"too large a state leaves {w.word(own + 8):#x}")
w.set(own, writer.READY)

file, w.file = w.file, os.open(path, os.O_RDONLY)  # cannot be locked, as on some file systems
refused("a slot that cannot be locked", errno.EBADF, w.take, "unlocked", 1)
w.file = file
w.release(w.take("unlocked", reader.YEAR))

page = reader.Page(os.open(path, os.O_RDONLY))
w.store(own + 16, 0)
says("a beat of zero", page, "not live: slot own has never beaten")
w.store(own + 16, 2**63)
says("a beat below zero", page, "not live: slot own has never beaten")
w.store(own + 16, 2**62)
says("a beat of the future", page, "not live: slot own: last beat -")
w.store(own + 40, int.from_bytes(b"a\x1b[2J\xff\n", "little"))
w.beat(own)
w.set(own, 0)
says("a name that is none", page, "not live: slot a??2J?? is in an unknown state")
w.set(own, writer.READY)


class Restless(reader.Page):
    """A page of which the slot changes hands at each look."""

    def word(self, offset):
        self.turn = getattr(self, "turn", 0) + 0x100
        return super().word(offset) + (self.turn if offset == own + 8 else 0)


says("a slot that never holds still", Restless(page.file), "not live: slot a??2J??: cannot tell whether process ")


def hidden(pid):
    raise PermissionError(f"/proc/{pid}")


if not page.apart():
    reader.start_time = hidden
    says("a /proc that cannot be read", page, "not live: slot host: cannot tell whether process ")

with tempfile.TemporaryDirectory() as folder:
    fifo = os.path.join(folder, "fifo")
    os.mkfifo(fifo)
    refused("a FIFO to write", ValueError, writer.Writer, fifo)
w.release(own)
w.close()
print("\n".join(wrong))
sys.exit(1 if wrong else 0)
