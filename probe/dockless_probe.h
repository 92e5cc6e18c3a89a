/*
 * dockless_probe.h: write and read the probe page of dockless from C or C++.
 *
 * A real-time program says that it is alive with one store into shared memory:
 *
 *     struct dockless_writer w;
 *     struct dockless_slot control;
 *     if (dockless_create(&w, "/dev/shm/dockless") != 0) ...
 *     dockless_take(&w, &control, "control", 50 * 1000 * 1000);
 *     dockless_set(&control, DOCKLESS_READY, DOCKLESS_REASON_NONE);
 *     for (;;) { ...; dockless_beat(&control); }
 *
 * dockless_create makes a page of one's own; with dockless_join several processes of
 * one user share one, each with slots of its own.
 *
 * dockless_create, dockless_join and dockless_take make system calls; call them before the
 * real-time part begins. dockless_beat reads CLOCK_BOOTTIME, which the kernel
 * serves without a system call on x86-64 and arm64, and stores it;
 * dockless_beat_at only stores. All functions are static inline, so there is
 * nothing to link. The layout is version 2 of docs/probe-abi.md.
 *
 * Linux on little-endian 64-bit machines, GCC or Clang, C99, C11 or C++11 or later.
 * Include it before other headers or define _GNU_SOURCE for the whole file.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef DOCKLESS_PROBE_H
#define DOCKLESS_PROBE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#if !defined(__linux__) || !defined(__LP64__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "dockless_probe.h needs Linux on a little-endian 64-bit machine"
#endif

#define DOCKLESS_PAGE_SIZE 4096
#define DOCKLESS_SLOTS 62
#define DOCKLESS_VERSION 2
#define DOCKLESS_MAX_NAME 23
#define DOCKLESS_MAGIC UINT64_C(0x7373656c6b636f64) /* "dockless" */
#define DOCKLESS_HEADER_SIZE 128
#define DOCKLESS_SLOT_SIZE 64
#define DOCKLESS_MAX_STEP UINT64_C(1000) /* ms */
/* The owner of a slot, its first word. */
#define DOCKLESS_PID UINT64_C(0x3fffff)
#define DOCKLESS_MOVING (UINT64_C(1) << 22)
#define DOCKLESS_FOREIGN (UINT64_C(1) << 23)
#define DOCKLESS_START_SHIFT 24
/* How often a slot was claimed, in its second word. */
#define DOCKLESS_TURN UINT64_C(0xffffff00)
#define DOCKLESS_MAX_ALLOWED (UINT64_C(31536000) * UINT64_C(1000000000))

enum dockless_state {
	DOCKLESS_FREE = 0,
	DOCKLESS_STARTING = 1,
	DOCKLESS_LIVE = 2,
	DOCKLESS_READY = 3,
	DOCKLESS_DRAINING = 4,
	DOCKLESS_STOPPED = 5
};

enum dockless_reason {
	DOCKLESS_REASON_NONE = 0,
	DOCKLESS_REASON_SERVER = 1,
	DOCKLESS_REASON_SESSION = 2,
	DOCKLESS_REASON_BUILDER = 3,
	DOCKLESS_REASON_CONTAINERS = 4,
	DOCKLESS_REASON_REGISTRY = 5,
	DOCKLESS_REASON_CREDENTIAL = 6,
	DOCKLESS_REASON_DISK = 7,
	DOCKLESS_REASON_CLEANUP = 8,
	DOCKLESS_REASON_IDLE = 9,
	DOCKLESS_REASON_BUSY = 10,
	DOCKLESS_REASON_TOLD = 11,
	DOCKLESS_REASON_FINISHED = 12,
	DOCKLESS_REASON_FAILED = 13,
	DOCKLESS_REASON_CUSTOM = 1000 /* and above: the program's own */
};

/* Words of the header and of a slot, eight bytes each. */
enum {
	dockless_w_magic = 0,
	dockless_w_version = 1,
	dockless_w_boot = 2,
	dockless_w_pid = 3,
	dockless_w_start = 4,
	dockless_w_namespace = 5,
	dockless_w_created = 7,
	dockless_w_slots = 16,
	dockless_w_owner = 0,
	dockless_w_state = 1,
	dockless_w_beat = 2,
	dockless_w_allowed = 3,
	dockless_w_counter = 4,
	dockless_w_name = 5,
	dockless_w_slot = 8
};

/*
 * dockless_writer is this process' way to a page, which it has for itself or shares.
 * A process has one for a page. Not safe for concurrent use; its slots are.
 */
struct dockless_writer {
	int fd;
	uint64_t owner; /* this process, as its slots name it */
	uint64_t *page;
	char path[PATH_MAX];
};

/* dockless_slot is one loop's place. Copies beat the same slot. */
struct dockless_slot {
	uint64_t *words;
	uint64_t turn; /* what its state and reason stand in */
};

static inline uint64_t dockless_load(const uint64_t *word)
{
	return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static inline void dockless_store(uint64_t *word, uint64_t value)
{
	__atomic_store_n(word, value, __ATOMIC_RELEASE);
}

/* dockless_now is CLOCK_BOOTTIME in nanoseconds. */
static inline int64_t dockless_now(void)
{
	struct timespec ts;

	if (clock_gettime(CLOCK_BOOTTIME, &ts) != 0)
		return 0;
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* dockless_read_file reads a small file and ends it with NUL: its length, or -errno. */
static inline int dockless_read_file(const char *path, char *buf, size_t size)
{
	size_t total = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	while (total < size - 1) {
		ssize_t n = read(fd, buf + total, size - 1 - total);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			int err = errno;

			close(fd);
			return -err;
		}
		if (n == 0)
			break;
		total += (size_t)n;
	}
	close(fd);
	buf[total] = '\0';
	return (int)total;
}

/* dockless_boot is the FNV-1a hash of the boot id's 36 characters, or 0. */
static inline uint64_t dockless_boot(void)
{
	char id[64];
	uint64_t hash = UINT64_C(0xcbf29ce484222325);
	int i;

	if (dockless_read_file("/proc/sys/kernel/random/boot_id", id, sizeof(id)) < 36)
		return 0;
	for (i = 0; i < 36; i++)
		hash = (hash ^ (unsigned char)id[i]) * UINT64_C(0x100000001b3);
	return hash;
}

/* dockless_namespace is the inode of our process id namespace, or 0. */
static inline uint64_t dockless_namespace(void)
{
	struct stat st;

	return stat("/proc/self/ns/pid", &st) == 0 ? (uint64_t)st.st_ino : 0;
}

/*
 * dockless_start is a process' start time in clock ticks since boot, 0 when
 * there is none or it is a zombie, and UINT64_MAX when that cannot be told.
 */
static inline uint64_t dockless_start(uint64_t pid)
{
	char path[64], line[1024], *at, *end;
	uint64_t start;
	int n, field;

	if (pid == 0 || pid > INT32_MAX)
		return 0;
	snprintf(path, sizeof(path), "/proc/%llu/stat", (unsigned long long)pid);
	n = dockless_read_file(path, line, sizeof(line));
	if (n == -ENOENT || n == -ESRCH)
		return access("/proc/self/stat", F_OK) == 0 ? 0 : UINT64_MAX;
	if (n < 0)
		return UINT64_MAX;
	/* The second field, in parentheses, may hold anything, also ") ". */
	at = strrchr(line, ')');
	if (at == NULL || at[1] != ' ' || at[2] == 'Z' || at[2] == 'X' || at[2] == 'x')
		return 0;
	for (field = 2; field < 22; field++) {
		at = strchr(at + 1, ' ');
		if (at == NULL)
			return 0;
	}
	start = strtoull(at + 1, &end, 10);
	return end != at + 1 && *end == ' ' ? start : 0;
}

/* dockless_lock takes, gives back or asks about a lock on part of the file. */
static inline int dockless_lock(int fd, int command, int kind, int start, int length, int *taken)
{
	struct flock lock;

	memset(&lock, 0, sizeof(lock));
	lock.l_type = (short)kind;
	lock.l_whence = SEEK_SET;
	lock.l_start = start;
	lock.l_len = length;
	if (fcntl(fd, command, &lock) != 0)
		return -errno;
	*taken = lock.l_type != F_UNLCK;
	return 0;
}

/* dockless_lock_slot makes its owner seen from other process id namespaces. */
static inline int dockless_lock_slot(int fd, int n, int kind)
{
	int taken = 0;

	return dockless_lock(fd, F_OFD_SETLK, kind, DOCKLESS_HEADER_SIZE + n * DOCKLESS_SLOT_SIZE, DOCKLESS_SLOT_SIZE, &taken);
}

/* dockless_lock_header returns 1 when we got the lock, 0 when we did not, or -errno. */
static inline int dockless_lock_header(int fd, int kind)
{
	int taken, err = dockless_lock(fd, F_OFD_SETLK, kind, 0, DOCKLESS_HEADER_SIZE, &taken);

	return err == 0 ? 1 : err == -EAGAIN || err == -EACCES ? 0 : err;
}

/* dockless_enter opens the file and locks its header: alone is 1 when nobody else has. */
static inline int dockless_enter(struct dockless_writer *w, int shared, int *alone)
{
	const struct timespec pause = {0, 5000000};
	struct stat mine, there;
	int turn, got = 0;

	for (turn = 0; turn < 200; turn++) {
		w->fd = open(w->path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0644);
		if (w->fd < 0)
			return -errno;
		if (fstat(w->fd, &mine) != 0)
			got = -errno;
		else if (!S_ISREG(mine.st_mode))
			got = -EINVAL;
		else if (mine.st_uid != geteuid())
			got = -EPERM;
		else {
			*alone = 1;
			got = dockless_lock_header(w->fd, F_WRLCK);
			if (got == 0) {
				*alone = 0;
				got = dockless_lock_header(w->fd, F_RDLCK);
				if (got == 1 && !shared)
					got = -EBUSY;
			}
		}
		/* Who removes the page may do so between our opening and locking it. */
		if (got == 1 && lstat(w->path, &there) == 0 && there.st_ino == mine.st_ino && there.st_dev == mine.st_dev)
			return 0;
		close(w->fd);
		w->fd = -1;
		if (got < 0)
			return got;
		nanosleep(&pause, NULL);
	}
	return -EBUSY;
}

static inline int dockless_open(struct dockless_writer *w, const char *path, int shared)
{
	uint64_t start = dockless_start((uint64_t)getpid()), boot = dockless_boot(), space = dockless_namespace(), there;
	struct stat st;
	void *memory;
	int err, alone = 0, i;

	memset(w, 0, sizeof(*w));
	w->fd = -1;
	if (strlen(path) >= sizeof(w->path))
		return -ENAMETOOLONG;
	if (boot == 0 || start == 0 || start == UINT64_MAX)
		return -ENOSYS;
	strcpy(w->path, path);
	err = dockless_enter(w, shared, &alone);
	if (err != 0)
		return err;
	err = -EBUSY;
	if (alone && (ftruncate(w->fd, DOCKLESS_PAGE_SIZE) != 0 || fchmod(w->fd, 0644) != 0))
		err = -errno;
	else if (fstat(w->fd, &st) == 0 && st.st_size == DOCKLESS_PAGE_SIZE) {
		memory = mmap(NULL, DOCKLESS_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, w->fd, 0);
		if (memory != MAP_FAILED)
			w->page = (uint64_t *)memory;
		else
			err = -errno;
	}
	if (w->page != NULL && alone) {
		for (i = 0; i < DOCKLESS_PAGE_SIZE / 8; i++)
			dockless_store(&w->page[i], 0); /* the magic first */
		dockless_store(&w->page[dockless_w_version], DOCKLESS_VERSION | (uint64_t)DOCKLESS_SLOTS << 32);
		dockless_store(&w->page[dockless_w_boot], boot);
		dockless_store(&w->page[dockless_w_pid], (uint64_t)getpid());
		dockless_store(&w->page[dockless_w_start], start);
		dockless_store(&w->page[dockless_w_namespace], space);
		dockless_store(&w->page[dockless_w_created], (uint64_t)dockless_now());
		dockless_store(&w->page[dockless_w_magic], DOCKLESS_MAGIC);
	}
	if (w->page == NULL || dockless_load(&w->page[dockless_w_magic]) != DOCKLESS_MAGIC ||
	    dockless_load(&w->page[dockless_w_version]) != (DOCKLESS_VERSION | (uint64_t)DOCKLESS_SLOTS << 32) ||
	    dockless_load(&w->page[dockless_w_boot]) != boot || (alone && shared && dockless_lock_header(w->fd, F_RDLCK) != 1)) {
		if (w->page != NULL)
			munmap(w->page, DOCKLESS_PAGE_SIZE);
		close(w->fd);
		w->fd = -1;
		return err;
	}
	there = dockless_load(&w->page[dockless_w_namespace]);
	w->owner = (uint64_t)getpid() | start << DOCKLESS_START_SHIFT | (there != 0 && there != space ? DOCKLESS_FOREIGN : 0);
	return 0;
}

/*
 * dockless_create makes the page for this process alone, or takes over the one that
 * dead processes left. It returns 0, or -EBUSY when a living process has the file
 * open, or another negative errno. The page's locks end with the process; a child
 * that is forked without exec inherits them and must not outlive its parent.
 */
static inline int dockless_create(struct dockless_writer *w, const char *path)
{
	return dockless_open(w, path, 0);
}

/*
 * dockless_join is dockless_create for a page that several processes share: it opens
 * the one that others have joined, or makes it. It returns -EBUSY when a living process
 * has it for itself, or uses the file for something else.
 */
static inline int dockless_join(struct dockless_writer *w, const char *path)
{
	return dockless_open(w, path, 1);
}

/* dockless_beat_at beats at a CLOCK_BOOTTIME in nanoseconds: one store. */
static inline void dockless_beat_at(struct dockless_slot *s, int64_t now)
{
	dockless_store(&s->words[dockless_w_beat], (uint64_t)now);
}

/* dockless_beat says that the loop has come round again. */
static inline void dockless_beat(struct dockless_slot *s)
{
	dockless_beat_at(s, dockless_now());
}

/*
 * dockless_set beats and changes the state and its reason, both at once. What does not fit
 * its field is cut off.
 */
static inline void dockless_set(struct dockless_slot *s, uint32_t state, uint32_t reason)
{
	dockless_beat(s);
	dockless_store(&s->words[dockless_w_state], s->turn | (state & 0xff) | (uint64_t)(reason & 0xffff) << 32);
}

/* dockless_allow beats and changes the age allowed, in nanoseconds up to a year. */
static inline int dockless_allow(struct dockless_slot *s, uint64_t allowed)
{
	if (allowed == 0 || allowed > DOCKLESS_MAX_ALLOWED)
		return -ERANGE;
	dockless_beat(s);
	dockless_store(&s->words[dockless_w_allowed], allowed);
	return 0;
}

/* dockless_count adds to the slot's counter, which is shown and not judged. */
static inline void dockless_count(struct dockless_slot *s, uint64_t n)
{
	__atomic_fetch_add(&s->words[dockless_w_counter], n, __ATOMIC_RELAXED);
}

static inline int dockless_name_byte(unsigned char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
}

/*
 * dockless_sight is a page as it was copied, each slot whole, with what became of
 * the processes that own them: 1 alive, 0 gone, -1 unknown.
 */
struct dockless_sight {
	uint64_t page[DOCKLESS_PAGE_SIZE / 8];
	signed char fates[DOCKLESS_SLOTS];
	int fd;
	uint64_t self; /* we, if we have slots, or 0 */
	int apart;     /* we count processes differently than the page */
};

static inline uint64_t *dockless_words(uint64_t *page, int n)
{
	return page + dockless_w_slots + n * dockless_w_slot;
}

/* dockless_in_use reports whether a slot counts, by its first word. */
static inline int dockless_in_use(uint64_t owner)
{
	return owner != 0 && (owner & DOCKLESS_MOVING) == 0;
}

static inline uint32_t dockless_state_of(const uint64_t *words)
{
	return (uint32_t)(words[dockless_w_state] & 0xff);
}

/* dockless_copy_slot reports whether the slot stayed the same claim while it was copied. */
static inline int dockless_copy_slot(const uint64_t *words, uint64_t *copy)
{
	int i;

	copy[dockless_w_owner] = dockless_load(&words[dockless_w_owner]);
	if (!dockless_in_use(copy[dockless_w_owner]))
		return 1;
	for (i = dockless_w_state; i < dockless_w_slot; i++)
		copy[i] = dockless_load(&words[i]);
	return ((dockless_load(&words[dockless_w_state]) ^ copy[dockless_w_state]) & DOCKLESS_TURN) == 0 &&
	       dockless_load(&words[dockless_w_owner]) == copy[dockless_w_owner];
}

/* dockless_fate finds out whether the owner of slot n is still there. */
static inline int dockless_fate(struct dockless_sight *s, int n, uint64_t owner)
{
	uint64_t start;
	int taken = 0, m;

	if (s->self != 0 && ((owner ^ s->self) & ~DOCKLESS_MOVING) == 0)
		return 1; /* ours: a lock that we hold is one that we do not see */
	if (s->apart || (owner & DOCKLESS_FOREIGN) != 0) {
		if ((owner & DOCKLESS_MOVING) != 0)
			return -1; /* it may not have taken the lock yet */
		return dockless_lock(s->fd, F_OFD_GETLK, F_WRLCK, DOCKLESS_HEADER_SIZE + n * DOCKLESS_SLOT_SIZE,
				     DOCKLESS_SLOT_SIZE, &taken) == 0 ? taken : -1;
	}
	for (m = 0; m < n; m++)
		if (s->fates[m] == 1 && ((dockless_words(s->page, m)[dockless_w_owner] ^ owner) & ~DOCKLESS_MOVING) == 0)
			return 1;
	start = dockless_start(owner & DOCKLESS_PID);
	if (start == UINT64_MAX)
		return -1;
	return start != 0 && start << DOCKLESS_START_SHIFT == owner >> DOCKLESS_START_SHIFT << DOCKLESS_START_SHIFT;
}

/* dockless_look copies slot n and finds out about its owner. */
static inline int dockless_look(struct dockless_sight *s, const uint64_t *page, int n)
{
	const uint64_t *words = page + dockless_w_slots + n * dockless_w_slot;
	uint64_t *copy = dockless_words(s->page, n);
	int turn, fate;

	for (turn = 0; turn < 1000; turn++) {
		if (!dockless_copy_slot(words, copy))
			continue;
		if (copy[dockless_w_owner] == 0)
			return -1;
		fate = dockless_fate(s, n, copy[dockless_w_owner]);
		/* Who gave its slot back and ended in between is not gone, it left. */
		if (fate != 0 || (dockless_load(&words[dockless_w_owner]) == copy[dockless_w_owner] &&
				  ((dockless_load(&words[dockless_w_state]) ^ copy[dockless_w_state]) & DOCKLESS_TURN) == 0))
			return fate;
	}
	return -1;
}

static inline void dockless_see(struct dockless_sight *s, const uint64_t *page, int fd, uint64_t self)
{
	uint64_t there;
	int i;

	memset(s, 0, sizeof(*s));
	s->fd = fd;
	s->self = self;
	for (i = 0; i < dockless_w_slots; i++)
		s->page[i] = dockless_load(&page[i]);
	if (s->page[dockless_w_magic] != DOCKLESS_MAGIC ||
	    s->page[dockless_w_version] != (DOCKLESS_VERSION | (uint64_t)DOCKLESS_SLOTS << 32))
		return;
	there = s->page[dockless_w_namespace];
	s->apart = there != 0 && there != dockless_namespace();
	for (i = 0; i < DOCKLESS_SLOTS; i++)
		s->fates[i] = (signed char)dockless_look(s, page, i);
}

/* dockless_slot_name writes a slot's name, with question marks for what is none. */
static inline const char *dockless_slot_name(const uint64_t *words, char *buf)
{
	int i;

	for (i = 0; i < DOCKLESS_MAX_NAME; i++) {
		unsigned char c = (unsigned char)(words[dockless_w_name + i / 8] >> (i % 8 * 8));

		if (c == 0)
			break;
		buf[i] = (char)(dockless_name_byte(c) ? c : '?');
	}
	buf[i] = '\0';
	return buf;
}

/* dockless_living finds a slot of that name whose owner lives or may: -1 for none. */
static inline int dockless_living(struct dockless_sight *s, const char *name, int except)
{
	char other[DOCKLESS_MAX_NAME + 1];
	int n;

	for (n = 0; n < DOCKLESS_SLOTS; n++) {
		const uint64_t *words = dockless_words(s->page, n);

		if (n != except && dockless_in_use(words[dockless_w_owner]) && s->fates[n] != 0 &&
		    strcmp(name, dockless_slot_name(words, other)) == 0)
			return n;
	}
	return -1;
}

/* dockless_best is the slot to claim for a name, see docs/probe-abi.md: -1 for none. */
static inline int dockless_best(struct dockless_sight *s, const char *name)
{
	char other[DOCKLESS_MAX_NAME + 1];
	int n, unused = -1, left = -1;

	for (n = 0; n < DOCKLESS_SLOTS; n++) {
		const uint64_t *words = dockless_words(s->page, n);
		uint64_t owner = words[dockless_w_owner];

		if (owner == 0 && unused < 0)
			unused = n;
		if (owner == 0 || s->fates[n] != 0)
			continue;
		if (dockless_in_use(owner) && strcmp(name, dockless_slot_name(words, other)) == 0)
			return n;
		if (left < 0 && (!dockless_in_use(owner) || dockless_state_of(words) == DOCKLESS_STOPPED))
			left = n;
	}
	return unused >= 0 ? unused : left;
}

/* dockless_give_back frees slot n, which is ours. */
static inline void dockless_give_back(struct dockless_writer *w, int n)
{
	uint64_t *owner = &dockless_words(w->page, n)[dockless_w_owner];

	dockless_store(owner, w->owner | DOCKLESS_MOVING);
	(void)dockless_lock_slot(w->fd, n, F_UNLCK);
	dockless_store(owner, 0);
}

/*
 * dockless_take claims a slot, in state starting and just beaten; it waits for
 * nobody. It returns 0, -EINVAL for a name or -ERANGE for an age that is not
 * allowed, -EEXIST for a name that a living process uses, -ENOSPC, or what locking the
 * slot failed with; without a slot, s->words is NULL.
 */
static inline int dockless_take(struct dockless_writer *w, struct dockless_slot *s, const char *name, uint64_t allowed)
{
	const struct timespec pause = {0, 5000000};
	struct dockless_sight seen;
	uint64_t name_words[3] = {0, 0, 0}, was, *words;
	size_t i, length = strlen(name);
	int n, turn, err;

	s->words = NULL;
	if (length == 0 || length > DOCKLESS_MAX_NAME)
		return -EINVAL;
	for (i = 0; i < length; i++) {
		if (!dockless_name_byte((unsigned char)name[i]))
			return -EINVAL;
		name_words[i / 8] |= (uint64_t)(unsigned char)name[i] << (i % 8 * 8);
	}
	if (allowed == 0 || allowed > DOCKLESS_MAX_ALLOWED)
		return -ERANGE;
	for (turn = 0; turn < 2 * DOCKLESS_SLOTS; turn++) {
		dockless_see(&seen, w->page, w->fd, w->owner);
		if (dockless_living(&seen, name, -1) >= 0)
			return -EEXIST;
		n = dockless_best(&seen, name);
		if (n < 0)
			return -ENOSPC;
		words = dockless_words(w->page, n);
		was = dockless_words(seen.page, n)[dockless_w_owner];
		if (!__atomic_compare_exchange_n(&words[dockless_w_owner], &was, w->owner | DOCKLESS_MOVING, 0,
						 __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
			continue;
		err = dockless_lock_slot(w->fd, n, F_WRLCK);
		if (err != 0)
			dockless_store(&words[dockless_w_owner], was);
		if (err == -EAGAIN || err == -EACCES) {
			/* A child that the dead owner forked has the file open, until its exec. */
			nanosleep(&pause, NULL);
			continue;
		}
		if (err != 0)
			return err;
		s->words = words;
		s->turn = ((dockless_load(&s->words[dockless_w_state]) & DOCKLESS_TURN) + 0x100) & DOCKLESS_TURN;
		dockless_store(&s->words[dockless_w_state], s->turn);
		for (i = 0; i < 3; i++)
			dockless_store(&s->words[dockless_w_name + i], name_words[i]);
		dockless_store(&s->words[dockless_w_counter], 0);
		dockless_store(&s->words[dockless_w_allowed], allowed);
		dockless_set(s, DOCKLESS_STARTING, DOCKLESS_REASON_NONE);
		__atomic_store_n(&s->words[dockless_w_owner], w->owner, __ATOMIC_SEQ_CST);
		/* Each looks after it has shown its own, so that one sees the other. */
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		dockless_see(&seen, w->page, w->fd, w->owner);
		if (dockless_living(&seen, name, n) < 0)
			return 0;
		dockless_give_back(w, n);
		s->words = NULL;
		return -EEXIST;
	}
	return -ENOSPC;
}

/* dockless_release gives a slot back, if it is one. No copy of it may beat afterwards. */
static inline void dockless_release(struct dockless_writer *w, struct dockless_slot *s)
{
	if (s->words == NULL)
		return;
	dockless_give_back(w, (int)((s->words - w->page - dockless_w_slots) / dockless_w_slot));
	s->words = NULL;
}

/*
 * dockless_close releases all slots, unmaps the page, and removes the file unless
 * others have it open. No slot may beat afterwards.
 */
static inline int dockless_close(struct dockless_writer *w)
{
	struct stat mine, there;
	int n, err = 0;

	if (w->fd < 0)
		return 0;
	for (n = 0; n < DOCKLESS_SLOTS; n++)
		if (dockless_load(&dockless_words(w->page, n)[dockless_w_owner]) == w->owner)
			dockless_give_back(w, n);
	if (dockless_lock_header(w->fd, F_WRLCK) == 1 && fstat(w->fd, &mine) == 0 && lstat(w->path, &there) == 0 &&
	    there.st_ino == mine.st_ino && there.st_dev == mine.st_dev && unlink(w->path) != 0)
		err = -errno;
	munmap(w->page, DOCKLESS_PAGE_SIZE);
	close(w->fd);
	w->fd = -1;
	return err;
}

static inline const char *dockless_state_text(uint32_t state)
{
	static const char *const text[] = {"", "starting", "live", "ready", "draining", "stopped"};

	return state > 0 && state < sizeof(text) / sizeof(text[0]) ? text[state] : "in an unknown state";
}

/* dockless_reason_text writes " (told to)", or nothing when there is no reason. */
static inline const char *dockless_reason_text(uint32_t reason, char *buf, size_t size)
{
	static const char *const text[] = {
		"", "server does not answer", "no session", "builder does not answer",
		"container service does not answer", "registry does not answer", "credentials refused",
		"disk full", "removing leftovers", "idle", "busy", "told to", "finished", "failed"};

	if (reason == DOCKLESS_REASON_NONE)
		buf[0] = '\0';
	else if (reason < sizeof(text) / sizeof(text[0]))
		snprintf(buf, size, " (%s)", text[reason]);
	else
		snprintf(buf, size, " (other reason %u)", (unsigned)reason);
	return buf;
}

/* dockless_age_text writes an age as 12ms, 1.5s, 31s, 2m5s or 3h20m. */
static inline const char *dockless_age_text(uint64_t ns, char *buf, size_t size)
{
	unsigned long long ms = ns / 1000000, s = ms / 1000, m = s / 60, h = m / 60;

	if (s == 0)
		snprintf(buf, size, "%llums", ms);
	else if (s < 10 && ms % 1000 / 100 != 0)
		snprintf(buf, size, "%llu.%llus", s, ms % 1000 / 100);
	else if (m == 0)
		snprintf(buf, size, "%llus", s);
	else if (h == 0 && s % 60 == 0)
		snprintf(buf, size, "%llum", m);
	else if (h == 0)
		snprintf(buf, size, "%llum%llus", m, s % 60);
	else if (m % 60 == 0)
		snprintf(buf, size, "%lluh", h);
	else
		snprintf(buf, size, "%lluh%llum", h, m % 60);
	return buf;
}

/* dockless_append writes at the end of line, as far as there is room. */
static inline void dockless_append(char *line, size_t size, const char *text)
{
	size_t at = strlen(line);

	if (at < size)
		snprintf(line + at, size - at, "%s", text);
}

enum dockless_complaint {
	DOCKLESS_FINE,
	DOCKLESS_OWNER_GONE,
	DOCKLESS_OWNER_IN_DOUBT,
	DOCKLESS_ODD_ALLOWANCE,
	DOCKLESS_NO_BEAT,
	DOCKLESS_FUTURE_BEAT,
	DOCKLESS_OLD_BEAT,
	DOCKLESS_WRONG_STATE
};

/* dockless_question is what dockless_check was asked. */
struct dockless_question {
	int ready;
	const char *name;
	uint64_t max_age;
	int64_t now;
};

/* dockless_asked reports whether slot n is in use and one that is asked about. */
static inline int dockless_asked(struct dockless_sight *s, int n, const struct dockless_question *q, char *name)
{
	const uint64_t *words = dockless_words(s->page, n);

	dockless_slot_name(words, name);
	return dockless_in_use(words[dockless_w_owner]) && (q->name == NULL || strcmp(q->name, name) == 0);
}

/* dockless_judge says what is wrong with slot n, which is in use and not stopped. */
static inline enum dockless_complaint dockless_judge(struct dockless_sight *s, int n, const struct dockless_question *q)
{
	const uint64_t *words = dockless_words(s->page, n);
	uint64_t allowed = q->max_age != 0 ? q->max_age : words[dockless_w_allowed], step = words[dockless_w_state] >> 48;
	int64_t beat = (int64_t)words[dockless_w_beat];
	uint32_t state = dockless_state_of(words);

	if (s->fates[n] == 0)
		return DOCKLESS_OWNER_GONE;
	if (s->fates[n] < 0)
		return DOCKLESS_OWNER_IN_DOUBT;
	if (allowed == 0 || allowed > DOCKLESS_MAX_ALLOWED || step > DOCKLESS_MAX_STEP)
		return DOCKLESS_ODD_ALLOWANCE;
	if (beat <= 0)
		return DOCKLESS_NO_BEAT;
	if (beat > q->now)
		return DOCKLESS_FUTURE_BEAT;
	if ((uint64_t)(q->now - beat) > allowed + step * 1000000)
		return DOCKLESS_OLD_BEAT;
	if (state == 0 || state > DOCKLESS_STOPPED || (q->ready && state != DOCKLESS_READY))
		return DOCKLESS_WRONG_STATE;
	return DOCKLESS_FINE;
}

/* dockless_complain writes what is wrong with slot n. */
static inline void dockless_complain(struct dockless_sight *s, int n, const struct dockless_question *q, char *line, size_t size)
{
	const uint64_t *words = dockless_words(s->page, n);
	unsigned long long pid = words[dockless_w_owner] & DOCKLESS_PID;
	char name[DOCKLESS_MAX_NAME + 1], was[32], limit[32], why[64], what[160];

	dockless_slot_name(words, name);
	dockless_reason_text((uint32_t)(words[dockless_w_state] >> 32 & 0xffff), why, sizeof(why));
	switch (dockless_judge(s, n, q)) {
	case DOCKLESS_OWNER_GONE:
		snprintf(what, sizeof(what), ": process %llu is gone%s", pid, why);
		break;
	case DOCKLESS_OWNER_IN_DOUBT:
		snprintf(what, sizeof(what), ": cannot tell whether process %llu is alive%s", pid, why);
		break;
	case DOCKLESS_ODD_ALLOWANCE:
		snprintf(what, sizeof(what), " allows an age that makes no sense");
		break;
	case DOCKLESS_NO_BEAT:
		snprintf(what, sizeof(what), " has never beaten");
		break;
	case DOCKLESS_FUTURE_BEAT:
		snprintf(what, sizeof(what), ": last beat is in the future");
		break;
	case DOCKLESS_OLD_BEAT:
		snprintf(what, sizeof(what), ": last beat %s ago, allowed %s%s",
			 dockless_age_text((uint64_t)(q->now - (int64_t)words[dockless_w_beat]), was, sizeof(was)),
			 dockless_age_text(q->max_age != 0 ? q->max_age : words[dockless_w_allowed], limit, sizeof(limit)), why);
		break;
	default:
		snprintf(what, sizeof(what), " is %s%s", dockless_state_text(dockless_state_of(words)), why);
	}
	dockless_append(line, size, "slot ");
	dockless_append(line, size, name);
	dockless_append(line, size, what);
}

/* dockless_ages lists the slots that were asked, but for except, with their beats' ages. */
static inline void dockless_ages(struct dockless_sight *s, int except, const struct dockless_question *q, const char *separator,
				 char *line, size_t size)
{
	char name[DOCKLESS_MAX_NAME + 1], was[32], limit[32], text[128];
	int n, more = 0;

	for (n = 0; n < DOCKLESS_SLOTS; n++) {
		const uint64_t *words = dockless_words(s->page, n);
		enum dockless_complaint wrong;

		if (n == except || !dockless_asked(s, n, q, name) || dockless_state_of(words) == DOCKLESS_STOPPED)
			continue;
		if (strlen(line) > 600) { /* one line that a person reads */
			more++;
			continue;
		}
		wrong = dockless_judge(s, n, q);
		if (wrong == DOCKLESS_FINE || wrong == DOCKLESS_OLD_BEAT || wrong == DOCKLESS_WRONG_STATE)
			dockless_age_text((uint64_t)(q->now - (int64_t)words[dockless_w_beat]), was, sizeof(was));
		else
			snprintf(was, sizeof(was), "%s", wrong == DOCKLESS_OWNER_GONE ? "gone" : "in doubt");
		snprintf(text, sizeof(text), "%s%s %s%s%s", separator, name, was,
			 wrong == DOCKLESS_OLD_BEAT ? " of " : wrong == DOCKLESS_WRONG_STATE ? " " : "",
			 wrong == DOCKLESS_OLD_BEAT ? dockless_age_text(q->max_age != 0 ? q->max_age : words[dockless_w_allowed], limit, sizeof(limit)) :
			 wrong == DOCKLESS_WRONG_STATE ? dockless_state_text(dockless_state_of(words)) : "");
		dockless_append(line, size, text);
		separator = ", ";
	}
	if (more > 0) {
		snprintf(text, sizeof(text), " and %d more", more);
		dockless_append(line, size, text);
	}
}

/* dockless_decide answers from what was seen, with the reason in line. */
static inline int dockless_decide(struct dockless_sight *s, uint64_t boot, const struct dockless_question *q, char *line, size_t size)
{
	const char *verb = q->ready ? "ready" : "live";
	char name[DOCKLESS_MAX_NAME + 1];
	int used = 0, asked = 0, bad = -1, n;

	for (n = 0; n < DOCKLESS_SLOTS; n++) {
		if (!dockless_asked(s, n, q, name))
			continue;
		used++;
		if (dockless_state_of(dockless_words(s->page, n)) == DOCKLESS_STOPPED)
			continue;
		asked++;
		if (bad < 0 && dockless_judge(s, n, q) != DOCKLESS_FINE)
			bad = n;
	}
	if (s->page[dockless_w_magic] != DOCKLESS_MAGIC)
		snprintf(line, size, "not %s: the file is not a probe page", verb);
	else if (s->page[dockless_w_version] != (DOCKLESS_VERSION | (uint64_t)DOCKLESS_SLOTS << 32))
		snprintf(line, size, "not %s: the page has version %u, this reader knows %d", verb,
			 (unsigned)s->page[dockless_w_version], DOCKLESS_VERSION);
	else if (boot == 0 || s->page[dockless_w_boot] != boot)
		snprintf(line, size, "not %s: the page is from before the last boot", verb);
	else if (used == 0 && q->name != NULL)
		snprintf(line, size, "not %s: no slot %s", verb, q->name);
	else if (used == 0)
		snprintf(line, size, "not %s: no slot in use", verb);
	else if (asked == 0 && q->name != NULL)
		snprintf(line, size, "not %s: slot %s is stopped", verb, q->name);
	else if (asked == 0)
		snprintf(line, size, "not %s: every slot is stopped", verb);
	else if (bad >= 0) {
		snprintf(line, size, "not %s: ", verb);
		dockless_complain(s, bad, q, line, size);
		dockless_ages(s, bad, q, "; ", line, size);
	} else {
		snprintf(line, size, "%s: %d slot%s", verb, asked, asked > 1 ? "s" : "");
		dockless_ages(s, -1, q, ": ", line, size);
		return 1;
	}
	return 0;
}

/*
 * dockless_check answers whether the page at path is live, or ready when ready
 * is not 0: 1 for yes and 0 for no, with the reason in line, which has room for
 * 1024 bytes. name narrows it to one slot unless NULL; max_age, in nanoseconds,
 * replaces every slot's own allowance unless 0.
 */
static inline int dockless_check(const char *path, int ready, const char *name, uint64_t max_age, char *line, size_t size)
{
	struct dockless_sight seen;
	struct dockless_question q;
	const char *verb = ready ? "ready" : "live";
	struct stat st;
	void *memory;
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0) {
		const char *why = errno == ENOENT || errno == ENOTDIR ? "no page at" :
				  errno == EACCES || errno == EPERM ? "no permission to read" : "cannot open";

		snprintf(line, size, "not %s: %s %s", verb, why, path);
		return 0;
	}
	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size != DOCKLESS_PAGE_SIZE) {
		snprintf(line, size, "not %s: not a probe page: %s", verb, path);
		close(fd);
		return 0;
	}
	memory = mmap(NULL, DOCKLESS_PAGE_SIZE, PROT_READ, MAP_SHARED, fd, 0);
	if (memory == MAP_FAILED) {
		snprintf(line, size, "not %s: cannot map %s", verb, path);
		close(fd);
		return 0;
	}
	dockless_see(&seen, (const uint64_t *)memory, fd, 0);
	munmap(memory, DOCKLESS_PAGE_SIZE);
	close(fd);
	q.ready = ready;
	q.name = name;
	q.max_age = max_age;
	q.now = dockless_now(); /* after the copy: a beat later than it is none of ours */
	return dockless_decide(&seen, dockless_boot(), &q, line, size);
}

#endif /* DOCKLESS_PROBE_H */
