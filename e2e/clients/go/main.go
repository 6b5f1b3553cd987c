// The test client on the official Go library.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	rmq "github.com/apache/rocketmq-clients/golang/v5"
)

// goodbye is the most that a client may take to close: it must not outlive an unreachable broker.
const goodbye = 3 * time.Second

func main() {
	lines, err := parts(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "clients/run go:", err)
		os.Exit(2)
	}
	// The library writes to the standard logger, too.
	log.SetOutput(io.Discard)
	rmq.EnableSsl = lines[0].tls
	stop, end := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer end()
	var all sync.WaitGroup
	var failed atomic.Bool
	for _, line := range lines {
		if line.command == "scenario" {
			// It has clients of its own, and ends by itself.
			end()
			if !runScenarios(line) {
				os.Exit(1)
			}
			return
		}
	}
	observe()
	for _, line := range lines {
		all.Add(1)
		go func() {
			defer all.Done()
			if err := run(stop, line); err != nil {
				fmt.Fprintf(os.Stderr, "go: %s %s failed: %v\n", line.command, line.name, err)
				failed.Store(true)
			}
		}()
	}
	all.Wait()
	if failed.Load() {
		os.Exit(1)
	}
}

func run(stop context.Context, line *arguments) error {
	var used client
	var err error
	if line.command == "produce" {
		used, err = produce(stop, line)
	} else {
		used, err = consume(stop, line)
	}
	if err != nil {
		return err
	}
	closed := make(chan struct{})
	go func() {
		_ = used.GracefulStop()
		close(closed)
	}()
	select {
	case <-closed:
	case <-time.After(goodbye):
	}
	return nil
}
