// Several connections to one SQLite database, each in a thread of its own, as several processes would
// have them: argument 2 is the journal mode, argument 3 the bytes of the database that are mapped.
// Writers insert rows in transactions, readers look at sums that must always fit; at the end the
// database is whole.
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sqlite3.h"

#define WRITERS 2
#define READERS 2
#define ROUNDS 60
#define ROWS 50

static const char *path, *mode, *map;
static int failed, writing = WRITERS;

static void fail(sqlite3 *db, const char *what)
{
	fprintf(stderr, "%s: %s\n", what, sqlite3_errmsg(db));
	__atomic_store_n(&failed, 1, __ATOMIC_SEQ_CST);
}

static void run(sqlite3 *db, const char *sql)
{
	if (sqlite3_exec(db, sql, 0, 0, 0))
		fail(db, sql);
}

static long long number(sqlite3 *db, const char *sql)
{
	sqlite3_stmt *s;
	long long v = -1;
	if (sqlite3_prepare_v2(db, sql, -1, &s, 0) || sqlite3_step(s) != SQLITE_ROW)
		fail(db, sql);
	else
		v = sqlite3_column_int64(s, 0);
	sqlite3_finalize(s);
	return v;
}

static sqlite3 *connect(void)
{
	sqlite3 *db;
	char sql[100];
	if (sqlite3_open(path, &db)) {
		fail(db, "open");
		exit(1);
	}
	sqlite3_busy_timeout(db, 60000);
	snprintf(sql, sizeof sql, "PRAGMA mmap_size=%s", map);
	run(db, sql);
	return db;
}

static void *writer(void *arg)
{
	sqlite3 *db = connect();
	char sql[200];
	for (int i = 0; i < ROUNDS; i++) {
		run(db, "BEGIN IMMEDIATE");
		for (int k = 0; k < ROWS; k++) {
			// Each transaction adds as much as it takes away.
			long long v = k % 2 ? -(k / 2 + 1) : k / 2 + 1;
			snprintf(sql, sizeof sql, "INSERT INTO t(who, v, pad) VALUES(%d, %lld, randomblob(%d))", (int)(long)arg, v, 100 + k * 13);
			run(db, sql);
		}
		if (i % 10 == 9)
			run(db, "DELETE FROM t WHERE id % 5 = 0 AND v = 0");
		run(db, "COMMIT");
		if (i % 20 == 19 && !strcmp(mode, "wal"))
			run(db, "PRAGMA wal_checkpoint(PASSIVE)");
	}
	__atomic_sub_fetch(&writing, 1, __ATOMIC_SEQ_CST);
	sqlite3_close(db);
	return 0;
}

static void *reader(void *arg)
{
	sqlite3 *db = connect();
	while (__atomic_load_n(&writing, __ATOMIC_SEQ_CST) && !__atomic_load_n(&failed, __ATOMIC_SEQ_CST)) {
		run(db, "BEGIN");
		long long n = number(db, "SELECT count(*) FROM t"), sum = number(db, "SELECT coalesce(sum(v), 0) FROM t");
		if (sum != 0 || n % ROWS != 0 || number(db, "SELECT count(*) FROM t WHERE length(pad) < 100") != 0)
			fail(db, "a reader sees half a transaction");
		run(db, "COMMIT");
	}
	sqlite3_close(db);
	return 0;
}

int main(int argc, char **argv)
{
	path = argv[1], mode = argv[2], map = argv[3];
	sqlite3 *db = connect();
	char sql[100];
	snprintf(sql, sizeof sql, "PRAGMA journal_mode=%s", mode);
	run(db, sql);
	run(db, "PRAGMA synchronous=NORMAL");
	run(db, "CREATE TABLE t(id INTEGER PRIMARY KEY, who INT, v INT, pad BLOB)");
	run(db, "CREATE INDEX t_who ON t(who, v)");
	pthread_t t[WRITERS + READERS];
	for (long i = 0; i < WRITERS + READERS; i++)
		if (pthread_create(&t[i], 0, i < WRITERS ? writer : reader, (void *)i))
			return 1;
	for (int i = 0; i < WRITERS + READERS; i++)
		pthread_join(t[i], 0);
	run(db, "VACUUM");
	printf("%s %s: %lld rows, sum %lld, mapped %d\n", mode, map, number(db, "SELECT count(*) FROM t"),
		number(db, "SELECT sum(v) FROM t"), number(db, "PRAGMA mmap_size") > 0);
	sqlite3_stmt *s;
	if (sqlite3_prepare_v2(db, "PRAGMA integrity_check", -1, &s, 0) || sqlite3_step(s) != SQLITE_ROW ||
	    strcmp((const char *)sqlite3_column_text(s, 0), "ok"))
		fail(db, "integrity");
	sqlite3_finalize(s);
	if (sqlite3_close(db))
		fail(db, "close");
	return failed;
}
