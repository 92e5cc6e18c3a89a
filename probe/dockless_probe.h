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
 * dockless_create and dockless_take make system calls; call them before the
 * real-time part begins. dockless_beat reads CLOCK_BOOTTIME, which the kernel
 * serves without a system call on x86-64 and arm64, and stores it;
 * dockless_beat_at only stores. All functions are static inline, so there is
 * nothing to link. The layout is version 1 of docs/probe-abi.md.
 *
 * Linux on little-endian 64-bit machines, GCC or Clang, C99 or C++11 or later.
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
#define DOCKLESS_VERSION 1
#define DOCKLESS_MAX_NAME 31
#define DOCKLESS_MAGIC UINT64_C(0x7373656c6b636f64) /* "dockless" */
#define DOCKLESS_MAX_STEP UINT64_C(1000000000)
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
	dockless_w_step = 6,
	dockless_w_created = 7,
	dockless_w_slots = 16,
	dockless_w_state = 0,
	dockless_w_beat = 1,
	dockless_w_allowed = 2,
	dockless_w_counter = 3,
	dockless_w_name = 4,
	dockless_w_slot = 8
};

/* dockless_writer owns a page. Not safe for concurrent use; its slots are. */
struct dockless_writer {
	int fd;
	int used;
	uint64_t *page;
	char path[PATH_MAX];
};

/* dockless_slot is one loop's place. Copies beat the same slot. */
struct dockless_slot {
	uint64_t *words;
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

/* dockless_lock takes or asks about the lock that a page's writer holds. */
static inline int dockless_lock(int fd, int command, int *taken)
{
	struct flock lock;

	memset(&lock, 0, sizeof(lock));
	lock.l_type = F_WRLCK;
	lock.l_whence = SEEK_SET;
	if (fcntl(fd, command, &lock) != 0)
		return -errno;
	*taken = lock.l_type != F_UNLCK;
	return 0;
}

/*
 * dockless_create makes the page, or takes over the one that a dead process
 * left. It returns 0, or -EBUSY when a living process writes the page, or
 * another negative errno. The page's lock ends with the process; a child that
 * is forked without exec inherits it and must not outlive its parent.
 */
static inline int dockless_create(struct dockless_writer *w, const char *path)
{
	struct stat mine, there;
	uint64_t start, boot;
	void *memory;
	int err = -EBUSY, taken, turn;

	memset(w, 0, sizeof(*w));
	w->fd = -1;
	if (strlen(path) >= sizeof(w->path))
		return -ENAMETOOLONG;
	strcpy(w->path, path);
	/* Another owner may remove the file between our opening and locking it. */
	for (turn = 0; turn < 10; turn++) {
		w->fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0644);
		if (w->fd < 0)
			return -errno;
		if (fstat(w->fd, &mine) != 0)
			err = -errno;
		else if (!S_ISREG(mine.st_mode))
			err = -EINVAL;
		else if (mine.st_uid != geteuid())
			err = -EPERM;
		else
			err = dockless_lock(w->fd, F_OFD_SETLK, &taken);
		if (err == -EAGAIN || err == -EACCES)
			err = -EBUSY;
		if (err != 0)
			goto fail;
		if (lstat(path, &there) == 0 && there.st_ino == mine.st_ino && there.st_dev == mine.st_dev)
			break;
		close(w->fd);
		w->fd = -1;
	}
	if (w->fd < 0)
		return -EBUSY;
	boot = dockless_boot();
	start = dockless_start((uint64_t)getpid());
	if (boot == 0 || start == 0 || start == UINT64_MAX) {
		err = -ENOSYS;
		goto fail;
	}
	if (ftruncate(w->fd, DOCKLESS_PAGE_SIZE) != 0 || fchmod(w->fd, 0644) != 0) {
		err = -errno;
		goto fail;
	}
	memory = mmap(NULL, DOCKLESS_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, w->fd, 0);
	if (memory == MAP_FAILED) {
		err = -errno;
		goto fail;
	}
	w->page = (uint64_t *)memory;
	for (turn = 0; turn < DOCKLESS_PAGE_SIZE / 8; turn++)
		dockless_store(&w->page[turn], 0); /* the magic first */
	dockless_store(&w->page[dockless_w_version], DOCKLESS_VERSION | (uint64_t)DOCKLESS_SLOTS << 32);
	dockless_store(&w->page[dockless_w_boot], boot);
	dockless_store(&w->page[dockless_w_pid], (uint64_t)getpid());
	dockless_store(&w->page[dockless_w_start], start);
	dockless_store(&w->page[dockless_w_namespace], dockless_namespace());
	dockless_store(&w->page[dockless_w_step], 0); /* beats carry the exact time */
	dockless_store(&w->page[dockless_w_created], (uint64_t)dockless_now());
	dockless_store(&w->page[dockless_w_magic], DOCKLESS_MAGIC);
	return 0;
fail:
	close(w->fd);
	w->fd = -1;
	return err;
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

/* dockless_set beats and changes the state and its reason, both at once. */
static inline void dockless_set(struct dockless_slot *s, uint32_t state, uint32_t reason)
{
	dockless_beat(s);
	dockless_store(&s->words[dockless_w_state], state | (uint64_t)reason << 32);
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
 * dockless_take takes the next free slot, in state starting and just beaten.
 * It returns 0, -EINVAL for a name or -ERANGE for an age that is not allowed,
 * -EEXIST for a name in use, or -ENOSPC.
 */
static inline int dockless_take(struct dockless_writer *w, struct dockless_slot *s, const char *name, uint64_t allowed)
{
	uint64_t words[4] = {0, 0, 0, 0};
	size_t i, length = strlen(name);
	int n;

	if (length == 0 || length > DOCKLESS_MAX_NAME)
		return -EINVAL;
	for (i = 0; i < length; i++) {
		if (!dockless_name_byte((unsigned char)name[i]))
			return -EINVAL;
		words[i / 8] |= (uint64_t)(unsigned char)name[i] << (i % 8 * 8);
	}
	if (allowed == 0 || allowed > DOCKLESS_MAX_ALLOWED)
		return -ERANGE;
	for (n = 0; n < w->used; n++)
		if (memcmp(&w->page[dockless_w_slots + n * dockless_w_slot + dockless_w_name], words, sizeof(words)) == 0)
			return -EEXIST;
	if (w->used == DOCKLESS_SLOTS)
		return -ENOSPC;
	s->words = &w->page[dockless_w_slots + w->used++ * dockless_w_slot];
	for (i = 0; i < 4; i++)
		dockless_store(&s->words[dockless_w_name + i], words[i]);
	dockless_store(&s->words[dockless_w_allowed], allowed);
	dockless_set(s, DOCKLESS_STARTING, DOCKLESS_REASON_NONE);
	return 0;
}

/*
 * dockless_close marks all slots stopped, removes the file and unmaps the page.
 * No slot of the page may beat afterwards.
 */
static inline int dockless_close(struct dockless_writer *w)
{
	struct dockless_slot s;
	int n, err = 0;

	if (w->fd < 0)
		return 0;
	for (n = 0; n < w->used; n++) {
		s.words = &w->page[dockless_w_slots + n * dockless_w_slot];
		dockless_set(&s, DOCKLESS_STOPPED, DOCKLESS_REASON_FINISHED);
	}
	if (unlink(w->path) != 0 && errno != ENOENT)
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

/* dockless_owner tells whether the page's writer lives: 1, 0, or -1 for unknown. */
static inline int dockless_owner(const uint64_t *page, int fd)
{
	uint64_t there = dockless_load(&page[dockless_w_namespace]), start;
	int taken = 0;

	if (there != 0 && there != dockless_namespace())
		return dockless_lock(fd, F_OFD_GETLK, &taken) == 0 ? taken : -1;
	start = dockless_start(dockless_load(&page[dockless_w_pid]));
	if (start == UINT64_MAX)
		return -1;
	return start != 0 && start == dockless_load(&page[dockless_w_start]);
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

/* dockless_decide is dockless_check for a copy of a page. */
static inline int dockless_decide(const uint64_t *page, int owner, uint64_t boot, int64_t now, int ready,
				  const char *name, uint64_t max_age, char *line, size_t size)
{
	const char *verb = ready ? "ready" : "live";
	char slot[DOCKLESS_MAX_NAME + 1], was[32], limit[32], why[64];
	uint64_t youngest = 0, step = page[dockless_w_step], pid = page[dockless_w_pid];
	int used = 0, asked = 0, n;

	if (page[dockless_w_magic] != DOCKLESS_MAGIC)
		snprintf(line, size, "not %s: the file is not a probe page", verb);
	else if (page[dockless_w_version] != (DOCKLESS_VERSION | (uint64_t)DOCKLESS_SLOTS << 32))
		snprintf(line, size, "not %s: the page has version %u, this reader knows 1", verb, (unsigned)page[dockless_w_version]);
	else if (step > DOCKLESS_MAX_STEP)
		snprintf(line, size, "not %s: the page's clock is too coarse", verb);
	else if (boot == 0 || page[dockless_w_boot] != boot)
		snprintf(line, size, "not %s: the page is from before the last boot", verb);
	else if (owner == 0)
		snprintf(line, size, "not %s: process %llu, which wrote the page, is gone", verb, (unsigned long long)pid);
	else if (owner < 0)
		snprintf(line, size, "not %s: cannot tell whether process %llu, which wrote the page, is alive", verb, (unsigned long long)pid);
	else
		goto slots;
	return 0;
slots:
	for (n = 0; n < DOCKLESS_SLOTS; n++) {
		const uint64_t *words = &page[dockless_w_slots + n * dockless_w_slot];
		uint32_t state = (uint32_t)words[dockless_w_state];
		int64_t beat = (int64_t)words[dockless_w_beat];
		uint64_t age, allowed = max_age != 0 ? max_age : words[dockless_w_allowed];

		if (state == DOCKLESS_FREE)
			continue;
		dockless_slot_name(words, slot);
		if (name != NULL && strcmp(name, slot) != 0)
			continue;
		used++;
		if (state == DOCKLESS_STOPPED)
			continue;
		asked++;
		dockless_reason_text((uint32_t)(words[dockless_w_state] >> 32), why, sizeof(why));
		age = (uint64_t)now - (uint64_t)beat;
		if (allowed == 0 || allowed > DOCKLESS_MAX_ALLOWED)
			snprintf(line, size, "not %s: slot %s allows an age that makes no sense", verb, slot);
		else if (beat <= 0)
			snprintf(line, size, "not %s: slot %s has never beaten", verb, slot);
		else if (beat > now)
			snprintf(line, size, "not %s: slot %s: last beat is in the future", verb, slot);
		else if (age > allowed + step)
			snprintf(line, size, "not %s: slot %s: last beat %s ago, allowed %s%s", verb, slot,
				 dockless_age_text(age, was, sizeof(was)), dockless_age_text(allowed, limit, sizeof(limit)), why);
		else if ((ready && state != DOCKLESS_READY) || state > DOCKLESS_STOPPED)
			snprintf(line, size, "not %s: slot %s is %s%s", verb, slot, dockless_state_text(state), why);
		else {
			if (asked == 1 || age < youngest)
				youngest = age;
			continue;
		}
		return 0;
	}
	if (used == 0 && name != NULL)
		snprintf(line, size, "not %s: no slot %s", verb, name);
	else if (used == 0)
		snprintf(line, size, "not %s: no slot in use", verb);
	else if (asked == 0 && name != NULL)
		snprintf(line, size, "not %s: slot %s is stopped", verb, name);
	else if (asked == 0)
		snprintf(line, size, "not %s: every slot is stopped", verb);
	else {
		snprintf(line, size, "%s: %d slot%s, youngest beat %s", verb, asked, asked > 1 ? "s" : "",
			 dockless_age_text(youngest, was, sizeof(was)));
		return 1;
	}
	return 0;
}

/*
 * dockless_check answers whether the page at path is live, or ready when ready
 * is not 0: 1 for yes and 0 for no, with the reason in line. name narrows it to
 * one slot unless NULL; max_age, in nanoseconds, replaces every slot's own
 * allowance unless 0.
 */
static inline int dockless_check(const char *path, int ready, const char *name, uint64_t max_age, char *line, size_t size)
{
	uint64_t page[DOCKLESS_PAGE_SIZE / 8];
	const char *verb = ready ? "ready" : "live";
	struct stat st;
	void *memory;
	int i, owner, fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);

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
	owner = dockless_owner((const uint64_t *)memory, fd);
	for (i = 0; i < DOCKLESS_PAGE_SIZE / 8; i++)
		page[i] = dockless_load((const uint64_t *)memory + i);
	munmap(memory, DOCKLESS_PAGE_SIZE);
	close(fd);
	/* The clock comes after the copy: a beat later than it is none of ours. */
	return dockless_decide(page, owner, dockless_boot(), dockless_now(), ready, name, max_age, line, size);
}

#endif /* DOCKLESS_PROBE_H */
