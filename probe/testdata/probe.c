/*
 * probe write FILE          takes two slots, prints ready, and beats until its input ends
 * probe one FILE NAME       has one slot, prints ready, and beats until its input ends
 * probe churn FILE NAME     claims, fills and releases a slot until its input ends
 * probe rules FILE          says in which way the functions that claim and set a slot err
 * probe live|ready FILE [SLOT [MAX_AGE_NS]]
 * probe bench FILE          prints the ns of one beat
 *
 * It is C and C++.
 */
#include "dockless_probe.h"

#include <poll.h>

static int write_page(const char *path)
{
	struct dockless_writer w;
	struct dockless_slot control, log, wrong;
	char c;
	int err = dockless_create(&w, path);

	if (err != 0) {
		printf("dockless_create: %s\n", strerror(-err));
		return 1;
	}
	if (dockless_take(&w, &control, "control", UINT64_C(60000000000)) != 0 ||
	    dockless_take(&w, &log, "log_writer-23.bytes.lng", UINT64_C(3600000000000)) != 0 ||
	    dockless_take(&w, &wrong, "control", 1) != -EEXIST ||
	    dockless_take(&w, &wrong, "two words", 1) != -EINVAL ||
	    dockless_take(&w, &wrong, "", 1) != -EINVAL ||
	    dockless_take(&w, &wrong, "forever", UINT64_MAX) != -ERANGE) {
		printf("dockless_take is wrong\n");
		return 1;
	}
	dockless_set(&control, DOCKLESS_READY, DOCKLESS_REASON_BUSY);
	dockless_set(&log, DOCKLESS_DRAINING, DOCKLESS_REASON_CUSTOM + 5);
	dockless_count(&log, 7);
	printf("ready\n");
	fflush(stdout);
	while (read(0, &c, 1) == 1)
		dockless_beat(&control);
	return dockless_close(&w) == 0 ? 0 : 1;
}

static int write_one(const char *path, const char *name)
{
	struct dockless_writer w;
	struct dockless_slot s;
	char c;
	int err = dockless_join(&w, path);

	if (err == 0)
		err = dockless_take(&w, &s, name, UINT64_C(3600000000000));
	if (err != 0) {
		printf("%s\n", strerror(-err));
		return 1;
	}
	dockless_set(&s, DOCKLESS_READY, DOCKLESS_REASON_IDLE);
	printf("ready\n");
	fflush(stdout);
	while (read(0, &c, 1) == 1)
		dockless_beat(&s);
	return dockless_close(&w) == 0 ? 0 : 1;
}

/* churn fills all of a slot with one number at a time, so that a mixture shows. */
static int churn(const char *path, const char *name)
{
	struct dockless_writer w;
	struct dockless_slot s;
	struct pollfd in = {0, POLLIN, 0};
	char full[DOCKLESS_MAX_NAME + 1];
	uint64_t n;

	if (dockless_join(&w, path) != 0)
		return 1;
	printf("ready\n");
	fflush(stdout);
	for (n = 1; poll(&in, 1, 0) == 0; n++) {
		snprintf(full, sizeof(full), "%s-%llu", name, (unsigned long long)n);
		if (dockless_take(&w, &s, full, UINT64_C(3600000000000) + n) != 0)
			return 1;
		dockless_count(&s, n);
		dockless_set(&s, DOCKLESS_READY, (uint32_t)(DOCKLESS_REASON_CUSTOM + n % 60000));
		dockless_beat(&s);
		dockless_release(&w, &s);
	}
	printf("%llu\n", (unsigned long long)n);
	return dockless_close(&w) == 0 ? 0 : 1;
}

/* err is what a claim that must fail came to. */
static int refused(int err, int want, const struct dockless_slot *s, const char *what)
{
	if (err == want && s->words == NULL)
		return 0;
	printf("%s: %d with slot %p, want %d with none\n", what, err, (const void *)s->words, want);
	return 1;
}

static int rules(const char *path)
{
	struct dockless_writer w;
	struct dockless_slot s, other;
	uint64_t was;
	int n, fd, wrong = 0;

	if (dockless_join(&w, path) != 0 || dockless_take(&w, &s, "own", 1) != 0)
		return 1;
	other = s;
	wrong |= refused(dockless_take(&w, &other, "own", 1), -EEXIST, &other, "a name of our own");
	other = s;
	wrong |= refused(dockless_take(&w, &other, "two words", 1), -EINVAL, &other, "a bad name");
	dockless_release(&w, &other);

	was = *s.words;
	dockless_set(&s, UINT32_MAX, UINT32_MAX);
	if (s.words[dockless_w_state] != (s.turn | UINT64_C(0xffff000000ff)) || *s.words != was) {
		printf("too large a state leaves %llx\n", (unsigned long long)s.words[dockless_w_state]);
		wrong = 1;
	}
	dockless_set(&s, DOCKLESS_STOPPED, DOCKLESS_REASON_NONE);

	fd = w.fd; /* a descriptor that cannot be locked, as on some file systems */
	w.fd = open(path, O_RDONLY);
	wrong |= refused(dockless_take(&w, &other, "unlocked", 1), -EBADF, &other, "a slot that cannot be locked");
	close(w.fd);
	w.fd = fd;

	for (n = 0; dockless_take(&w, &other, n % 2 != 0 ? "odd" : "even", 1) == 0; n++)
		snprintf((char *)&other.words[dockless_w_name], DOCKLESS_MAX_NAME, "full-%d", n);
	if (n == 0)
		printf("after a failed claim no slot can be claimed\n");
	wrong |= n == 0;
	other = s;
	wrong |= refused(dockless_take(&w, &other, "more", 1), -ENOSPC, &other, "a full page with a stopped slot of our own");
	return dockless_close(&w) == 0 ? wrong : 1;
}

static int bench(const char *path)
{
	struct dockless_writer w;
	struct dockless_slot s;
	int64_t start, exact, store;
	int i;

	if (dockless_create(&w, path) != 0 || dockless_take(&w, &s, "bench", 1) != 0)
		return 1;
	start = dockless_now();
	for (i = 0; i < 10000000; i++)
		dockless_beat(&s);
	exact = dockless_now() - start;
	start = dockless_now();
	for (i = 0; i < 10000000; i++)
		dockless_beat_at(&s, start);
	store = dockless_now() - start;
	printf("%.1f ns a beat, %.1f ns with a time of one's own\n", (double)exact / 1e7, (double)store / 1e7);
	return dockless_close(&w);
}

int main(int argc, char **argv)
{
	char line[1024];
	int yes;

	if (argc < 3)
		return 2;
	if (strcmp(argv[1], "write") == 0)
		return write_page(argv[2]);
	if (strcmp(argv[1], "one") == 0 && argc > 3)
		return write_one(argv[2], argv[3]);
	if (strcmp(argv[1], "churn") == 0 && argc > 3)
		return churn(argv[2], argv[3]);
	if (strcmp(argv[1], "rules") == 0)
		return rules(argv[2]);
	if (strcmp(argv[1], "bench") == 0)
		return bench(argv[2]);
	yes = dockless_check(argv[2], strcmp(argv[1], "ready") == 0, argc > 3 && argv[3][0] != '\0' ? argv[3] : NULL,
			     argc > 4 ? strtoull(argv[4], NULL, 10) : 0, line, sizeof(line));
	printf("%s\n", line);
	return yes ? 0 : 1;
}
