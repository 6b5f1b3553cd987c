package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"sync"
	"time"
)

// progress counts what happens and prints the counts as JSON lines while it does.
type progress struct {
	client string
	mutex  sync.Mutex
	counts fields
	done   chan struct{}
}

func newProgress(period time.Duration, client string, names ...string) *progress {
	p := &progress{client: client, counts: fields{}, done: make(chan struct{})}
	for _, name := range names {
		p.counts[name] = 0
	}
	if period > 0 {
		go p.printRegularly(period)
	}
	return p
}

func (p *progress) add(name string, number int) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.counts[name] = p.counts[name].(int) + number
}

func (p *progress) raise(name string, number int) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.counts[name] = max(p.counts[name].(int), number)
}

func (p *progress) all() fields {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return maps.Clone(p.counts)
}

func (p *progress) finish() {
	close(p.done)
	p.print(fields{"final": true})
}

func (p *progress) printRegularly(period time.Duration) {
	for {
		select {
		case <-p.done:
			return
		case <-time.After(period):
			p.print(nil)
		}
	}
}

func (p *progress) print(more fields) {
	line := p.all()
	line["client"] = p.client
	maps.Copy(line, more)
	text, err := json.Marshal(line)
	if err != nil {
		panic(err)
	}
	fmt.Fprintln(os.Stdout, string(text))
}
