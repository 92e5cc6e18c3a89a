// Command app counts the visits of a page in Redis and remembers them in Postgres.
// It speaks both protocols, and HTTP, by hand: compiling net/http would take most
// of the time of the stack.
package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
)

func main() {
	listener, err := net.Listen("tcp", ":8080")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for {
		conn, err := listener.Accept()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		answer(conn)
	}
}

// answer answers one request.
func answer(conn net.Conn) {
	defer conn.Close()
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return
	}
	status, text := "200 OK", "well"
	if !strings.HasPrefix(line, "GET /healthy ") {
		if text, err = visit(); err != nil {
			status, text = "500 Internal Server Error", err.Error()
		}
	}
	fmt.Fprintf(conn, "HTTP/1.0 %s\r\nContent-Length: %d\r\n\r\n%s", status, len(text), text)
}

func visit() (string, error) {
	db, err := net.Dial("tcp", os.Getenv("POSTGRES")) // first: who asks again counts once
	if err != nil {
		return "", err
	}
	defer db.Close()
	number, err := count()
	if err != nil {
		return "", err
	}
	remembered, err := query(db, fmt.Sprintf("INSERT INTO visits VALUES (%s); SELECT count(*) FROM visits", number))
	return "visit " + number + ", remembered " + remembered, err
}

// count counts one visit more in Redis.
func count() (string, error) {
	conn, err := net.Dial("tcp", os.Getenv("REDIS"))
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "INCR visits\r\n"); err != nil {
		return "", err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	return strings.Trim(line, ":\r\n"), err
}

// query runs SQL in Postgres and returns the last value that comes back.
func query(conn net.Conn, sql string) (value string, err error) {
	start := "\x00\x03\x00\x00user\x00app\x00database\x00app\x00\x00"
	if _, err := conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(start)+4)), start...)); err != nil {
		return "", err
	}
	for asked := false; ; {
		kind, body, err := message(conn)
		switch {
		case err != nil:
			return "", err
		case kind == 'E':
			return "", fmt.Errorf("postgres: %q", body)
		case kind == 'D': // two bytes of columns, four of length
			value = string(body[6:])
		case kind == 'Z' && asked:
			return value, nil
		case kind == 'Z':
			asked = true
			head := binary.BigEndian.AppendUint32([]byte{'Q'}, uint32(len(sql)+5))
			if _, err := conn.Write(append(append(head, sql...), 0)); err != nil {
				return "", err
			}
		}
	}
}

func message(r io.Reader) (kind byte, body []byte, err error) {
	head := make([]byte, 5)
	if _, err := io.ReadFull(r, head); err != nil {
		return 0, nil, err
	}
	body = make([]byte, binary.BigEndian.Uint32(head[1:])-4)
	_, err = io.ReadFull(r, body)
	return head[0], body, err
}
