// Command sql works with a database: it fills, asks, changes, packs and checks it, and prints what it finds.
package main

import (
	"database/sql"
	"fmt"
	"log"
	"math/rand"
	"strings"

	_ "modernc.org/sqlite"
)

func main() {
	log.SetFlags(0)
	db, err := sql.Open("sqlite", "file:work.db?_pragma=journal_mode(wal)&_pragma=synchronous(normal)&_pragma=cache_size(-16000)")
	check(err)
	db.SetMaxOpenConns(1)
	exec := func(q string, args ...any) {
		_, err := db.Exec(q, args...)
		check(err)
	}
	exec(`create table customer (id integer primary key, name text not null, town text);
		create table item (id integer primary key, customer integer references customer, price real, note text);
		create index item_customer on item (customer)`)
	r := rand.New(rand.NewSource(3))
	fill(db, "insert into customer (name, town) values (?, ?)", 5000, func(int) []any {
		return []any{fmt.Sprintf("customer %d", r.Intn(1e9)), fmt.Sprintf("town %d", r.Intn(50))}
	})
	for range 20 { // a transaction each
		fill(db, "insert into item (customer, price, note) values (?, ?, ?)", 10000, func(int) []any {
			return []any{1 + r.Intn(5000), float64(r.Intn(100000)) / 100, strings.Repeat("note ", r.Intn(20))}
		})
	}
	show(db, `select town, count(*), round(sum(price), 2) from item join customer on customer.id = customer group by town order by 3 desc limit 10`)
	show(db, `select substr(note, 1, 4), max(length(note)), count(distinct customer) from item where price between 100 and 200 group by 1`)
	show(db, `with recursive n(i) as (select 1 union all select i + 1 from n where i < 300000) select sum(i * i % 7) from n`)
	show(db, `select count(*) from (select customer, price, row_number() over (partition by customer order by price desc, id) k from item) where k <= 3`)
	for range 3000 { // each its own transaction
		exec("update item set price = price + 1, note = note || ? where id = ?", "x", 1+r.Intn(200000))
	}
	exec("delete from item where id % 3 = 0")
	exec("vacuum")
	show(db, "select count(*), round(sum(price), 2), sum(length(note)) from item")
	show(db, "pragma integrity_check")
	exec("pragma wal_checkpoint(truncate)")
	check(db.Close())
}

// fill runs a statement n times in one transaction.
func fill(db *sql.DB, statement string, n int, args func(int) []any) {
	tx, err := db.Begin()
	check(err)
	s, err := tx.Prepare(statement)
	check(err)
	for i := range n {
		_, err := s.Exec(args(i)...)
		check(err)
	}
	check(s.Close())
	check(tx.Commit())
}

// show prints what a query finds.
func show(db *sql.DB, query string) {
	rows, err := db.Query(query)
	check(err)
	defer rows.Close()
	columns, err := rows.Columns()
	check(err)
	for rows.Next() {
		values := make([]any, len(columns))
		to := make([]any, len(columns))
		for i := range values {
			to[i] = &values[i]
		}
		check(rows.Scan(to...))
		fmt.Println(values...)
	}
	check(rows.Err())
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
