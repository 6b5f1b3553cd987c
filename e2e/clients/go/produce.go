package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	rmq "github.com/apache/rocketmq-clients/golang/v5"
)

const (
	// pauseAfterFailure: an unreachable broker must not use up all messages in a moment.
	pauseAfterFailure = 100 * time.Millisecond
	// lastCalls is for calls under way at the end: three requests of three seconds each.
	lastCalls = 10 * time.Second
)

// sending sends numbered messages in several sessions and writes down how each send ended.
type sending struct {
	*plain
	kind kind
	stop context.Context

	mutex sync.Mutex
	next  int
	began time.Time
}

func produce(stop context.Context, a *arguments) (client, error) {
	history, err := newHistory(a, "producer")
	if err != nil {
		return nil, err
	}
	if err := history.start(fields{"topic": a.topic}); err != nil {
		return nil, err
	}
	base := &plain{arguments: a, history: history}
	base.progress = newProgress(a.progress, history.client, "sent", "acknowledged", "unknown", "failed", "asked")
	kind, err := kindOf(base)
	if err != nil {
		return nil, err
	}
	var check func(*rmq.MessageView) rmq.TransactionResolution
	if asked, is := kind.(checker); is {
		check = asked.check
	}
	if base.producer, err = newProducer(a, check); err != nil {
		return nil, err
	}
	s := &sending{plain: base, kind: kind, stop: stop, began: time.Now()}
	s.all()
	reason := "count"
	if stop.Err() != nil {
		reason = "signal"
	}
	history.end(reason, base.progress.all())
	base.progress.finish()
	return base.producer, nil
}

// all returns when every session has ended, or long enough after it was told to stop.
func (s *sending) all() {
	var sessions sync.WaitGroup
	for number := range s.arguments.inFlight {
		sessions.Add(1)
		go func() {
			defer sessions.Done()
			s.session(fmt.Sprintf("s%d", number))
		}()
	}
	ended := make(chan struct{})
	go func() {
		sessions.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return
	case <-s.stop.Done():
	}
	select {
	case <-ended:
	case <-time.After(lastCalls):
	}
}

func (s *sending) session(session string) {
	for number, more := s.take(); more; number, more = s.take() {
		if !s.sendOne(session, number) {
			time.Sleep(pauseAfterFailure)
		}
	}
}

// take hands out the numbers of messages at the wanted rate until there are enough.
func (s *sending) take() (int, bool) {
	s.mutex.Lock()
	number := s.next
	enough := s.arguments.count > 0 && number >= s.arguments.count
	if enough || s.stop.Err() != nil {
		s.mutex.Unlock()
		return 0, false
	}
	s.next++
	s.mutex.Unlock()
	if s.arguments.rate == 0 {
		return number, true
	}
	due := s.began.Add(time.Duration(float64(number) / s.arguments.rate * float64(time.Second)))
	select {
	case <-time.After(time.Until(due)):
		return number, true
	case <-s.stop.Done():
		return 0, false
	}
}

func (s *sending) sendOne(session string, number int) bool {
	id := fmt.Sprintf("%s-%d", s.history.client, number)
	message := s.message(id, number)
	told, err := s.kind.prepare(message, session, number)
	if err != nil {
		panic(err)
	}
	which := fields{"session": session, "id": id, "checksum": checksum(message.Body)}
	if tag := message.GetTag(); tag != nil {
		which["tag"] = *tag
	}
	for name, value := range told {
		which[name] = value
	}
	call := s.history.invoke("send", which)
	s.progress.add("sent", 1)
	var rest func()
	receipt, tries, err := sendCounted(func(ctx context.Context) ([]*rmq.SendReceipt, error) {
		receipts, then, err := s.kind.send(ctx, message, number)
		rest = then
		return receipts, err
	})
	if err != nil {
		s.failed(call, tries, err)
		return false
	}
	found := fields{"message_id": receipt.MessageID, "tries": tries}
	if s.kind.hasPlace() {
		found["offset"] = receipt.Offset
	}
	s.history.complete("send", call, "ok", found)
	s.progress.add("acknowledged", 1)
	if rest != nil {
		rest()
	}
	return true
}

func (s *sending) failed(call int64, tries int32, err error) {
	certain, told := problem(err)
	told["tries"] = tries
	outcome, counted := "unknown", "unknown"
	if certain || tries == 0 {
		outcome, counted = "fail", "failed"
	}
	s.history.complete("send", call, outcome, told)
	s.progress.add(counted, 1)
}

// message has a body of the id, a line end, and filler that differs between messages.
func (s *sending) message(id string, number int) *rmq.Message {
	body := []byte(id + "\n")
	for at := 0; len(body) < s.arguments.size; at++ {
		body = append(body, id[at%len(id)])
	}
	message := &rmq.Message{Topic: s.arguments.topic, Body: body}
	if number%2 == 0 {
		message.SetTag("even")
	}
	if number%3 == 0 {
		message.SetKeys(fmt.Sprintf("key-%d", number))
	}
	if number%5 == 0 {
		message.AddProperty("number", fmt.Sprint(number))
	}
	message.AddProperty("quarter", fmt.Sprint(number%4))
	return message
}
