package main

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// fields of a line of a history; empty texts and nothing are left out: they stand for what is not known.
type fields map[string]any

// history writes one JSON object per line, on disk before the caller goes on; README.md beside the launcher describes the
// lines. A killed client tears at most the last one.
type history struct {
	client string

	mutex sync.Mutex
	file  *os.File
	calls int64
	ended bool
}

func newHistory(a *arguments, role string) (*history, error) {
	file, err := os.Create(a.history)
	if err != nil {
		return nil, err
	}
	client := a.name
	if client == "" {
		random := make([]byte, 3)
		if _, err := rand.Read(random); err != nil {
			return nil, err
		}
		client = fmt.Sprintf("go-%s-%d-%x", role, os.Getpid(), random)
	}
	return &history{client: client, file: file}, nil
}

func checksum(body []byte) string {
	digest := sha256.Sum256(body)
	return hex.EncodeToString(digest[:])[:16]
}

func (h *history) start(told fields) error {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return err
	}
	h.write(h.line("start", fields{"boot": strings.TrimSpace(string(boot)), "language": "go"}, told))
	return nil
}

// invoke returns the number of the call, above 0; 0 once the history has ended: nobody may act on it any more.
func (h *history) invoke(op string, told fields) int64 {
	h.mutex.Lock()
	h.calls++
	call := h.calls
	h.mutex.Unlock()
	if !h.write(h.line("invoke", fields{"op": op, "call": call}, told)) {
		return 0
	}
	return call
}

// complete tells the messages that the call brought before its end: a call that ended has told all.
func (h *history) complete(op string, call int64, outcome string, told fields, messages ...fields) {
	var lines []string
	for _, message := range messages {
		lines = append(lines, h.line("message", fields{"call": call}, message))
	}
	lines = append(lines, h.line("complete", fields{"op": op, "call": call, "outcome": outcome}, told))
	h.write(lines...)
}

// failed is complete for a call with an error; the answer is the outcome.
func (h *history) failed(op string, call int64, err error) string {
	certain, told := problem(err)
	outcome := "unknown"
	if certain {
		outcome = "fail"
	}
	h.complete(op, call, outcome, told)
	return outcome
}

// told is an operation of which only success and failure are known.
func (h *history) told(op string, which fields, act func() error) {
	call := h.invoke(op, which)
	if err := act(); err != nil {
		h.failed(op, call, err)
		return
	}
	h.complete(op, call, "ok", nil)
}

// message is one that a push consumer was given.
func (h *history) message(told fields) {
	h.write(h.line("message", told))
}

func (h *history) end(reason string, counts fields) {
	h.write(h.line("end", fields{"reason": reason}, counts))
	h.mutex.Lock()
	defer h.mutex.Unlock()
	h.ended = true
}

func (h *history) line(event string, told ...fields) string {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		panic(err)
	}
	whole := fields{"event": event, "ts": now.Nano(), "wall": time.Now().UnixMilli(), "client": h.client}
	for _, some := range told {
		for name, value := range some {
			if value != nil && value != "" {
				whole[name] = value
			}
		}
	}
	line, err := json.Marshal(whole)
	if err != nil {
		panic(err)
	}
	return string(line)
}

// write returns false once the history has ended: a call that ends after the end line is one whose end nobody saw.
func (h *history) write(lines ...string) bool {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	if h.ended {
		return false
	}
	if _, err := h.file.WriteString(strings.Join(lines, "\n") + "\n"); err != nil {
		panic(err)
	}
	return true
}
