package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	rmq "github.com/apache/rocketmq-clients/golang/v5"
	v2 "github.com/apache/rocketmq-clients/golang/v5/protocol/v2"
)

var whole = []int{0, 1, 2, 3, 4, 5}

// push: the listener gets every message, once.
func push(s *stage) (facts, error) {
	came := map[string]int{}
	attempts := map[int32]int{}
	err := s.push(func(message *rmq.MessageView) rmq.ConsumerResult {
		s.locked(func() {
			came[string(message.GetBody())]++
			attempts[message.GetDeliveryAttempt()]++
		})
		return rmq.SUCCESS
	})
	if err != nil {
		return nil, err
	}
	producer, err := s.producer(nil)
	if err != nil {
		return nil, err
	}
	wanted := map[string]int{}
	for number := range 20 {
		body := fmt.Sprintf("push-%d", number)
		wanted[body] = 1
		if _, err := s.send(producer, s.message(body)); err != nil {
			return nil, err
		}
	}
	what := func() string { return fmt.Sprintf("%d messages, came %v", len(wanted), came) }
	if err := s.wait(what, func() bool { return len(came) >= len(wanted) }); err != nil {
		return nil, err
	}
	s.locked(func() {
		err = first(expect("what came", came, wanted), expect("attempts", attempts, map[int32]int{1: len(wanted)}))
	})
	return nil, err
}

// simple: the consumer chooses when a message comes again; the receipt of the earlier delivery is void then.
func simple(s *stage) (facts, error) {
	consumer, err := s.consumer(rmq.SUB_ALL)
	if err != nil {
		return nil, err
	}
	producer, err := s.producer(nil)
	if err != nil {
		return nil, err
	}
	if _, err := s.send(producer, s.message("once more")); err != nil {
		return nil, err
	}
	one, err := s.next(consumer, "the message")
	if err != nil {
		return nil, err
	}
	if err := first(expect("attempt", one.GetDeliveryAttempt(), int32(1)),
		consumer.ChangeInvisibleDuration(one, 2*time.Second)); err != nil {
		return nil, err
	}
	changed := time.Now()
	two, err := s.next(consumer, "the message again")
	if err != nil {
		return nil, err
	}
	away := time.Since(changed)
	if away < 1900*time.Millisecond {
		return nil, fmt.Errorf("the message came again after %v instead of 2 s", away)
	}
	// The library does not tell that an acknowledgement was refused, but it tells that of a change.
	stale := consumer.ChangeInvisibleDuration(one, 10*time.Second)
	return facts{"away_ms": away.Milliseconds()}, first(
		expect("attempt", two.GetDeliveryAttempt(), int32(2)),
		refused("a change of the first delivery", v2.Code_INVALID_RECEIPT_HANDLE, stale),
		consumer.Ack(context.Background(), two),
	)
}

// ordered notes what a FIFO listener is given, and that a message group has one message at a time.
type ordered struct {
	stage   *stage
	fails   func(body string, times int) bool
	came    map[string][]int
	busy    map[string]bool
	overlap string
}

func newOrdered(s *stage, fails func(string, int) bool) *ordered {
	came := map[string][]int{"a": {}, "b": {}, "c": {}}
	return &ordered{stage: s, fails: fails, came: came, busy: map[string]bool{}}
}

func (o *ordered) consume(message *rmq.MessageView) rmq.ConsumerResult {
	body := string(message.GetBody())
	group, text, _ := strings.Cut(body, "-")
	number, err := strconv.Atoi(text)
	if err != nil {
		return rmq.SUCCESS
	}
	times := 0
	o.stage.locked(func() {
		if o.busy[group] {
			o.overlap = body + " came while another message of its group was being consumed"
		}
		o.busy[group] = true
		o.came[group] = append(o.came[group], number)
		for _, other := range o.came[group] {
			if other == number {
				times++
			}
		}
	})
	failed := o.fails(body, times)
	o.stage.locked(func() { o.busy[group] = false })
	if failed {
		return rmq.FAILURE
	}
	return rmq.SUCCESS
}

func (o *ordered) play(wanted map[string][]int) error {
	producer, err := o.stage.producer(nil)
	if err != nil {
		return err
	}
	for _, number := range whole {
		for _, group := range keys(o.came) {
			message := o.stage.message(fmt.Sprintf("%s-%d", group, number))
			message.SetMessageGroup(group)
			if _, err := o.stage.send(producer, message); err != nil {
				return err
			}
		}
	}
	if err := o.stage.push(o.consume); err != nil {
		return err
	}
	what := func() string { return fmt.Sprintf("%v, came %v", wanted, o.came) }
	err = o.stage.wait(what, func() bool {
		for group := range wanted {
			if len(o.came[group]) < len(wanted[group]) {
				return false
			}
		}
		return true
	})
	if err != nil {
		return err
	}
	o.stage.locked(func() {
		err = first(expect("what came", o.came, wanted), expect("overlap", o.overlap, ""))
	})
	return err
}

// fifo: each message group in its order, one at a time, whatever fails in between; others go on meanwhile.
func fifo(s *stage) (facts, error) {
	o := newOrdered(s, func(body string, times int) bool { return body == "a-2" && times == 1 })
	return nil, o.play(map[string][]int{"a": {0, 1, 2, 2, 3, 4, 5}, "b": whole, "c": whole})
}

// fifoDeadLetter: a message that always fails goes to the dead letters after its last attempt, and the next of its
// group come.
func fifoDeadLetter(s *stage) (facts, error) {
	dead, err := s.deadLetters()
	if err != nil {
		return nil, err
	}
	o := newOrdered(s, func(body string, _ int) bool { return body == "a-2" })
	if err := o.play(map[string][]int{"a": {0, 1, 2, 2, 2, 3, 4, 5}, "b": whole, "c": whole}); err != nil {
		return nil, err
	}
	_, err = s.collect(dead, "a-2")
	return nil, err
}

// deadLetter: a message that always fails comes as often as its group allows, then it is a dead letter.
func deadLetter(s *stage) (facts, error) {
	dead, err := s.deadLetters()
	if err != nil {
		return nil, err
	}
	var attempts []int32
	err = s.push(func(message *rmq.MessageView) rmq.ConsumerResult {
		s.locked(func() { attempts = append(attempts, message.GetDeliveryAttempt()) })
		return rmq.FAILURE
	})
	if err != nil {
		return nil, err
	}
	producer, err := s.producer(nil)
	if err != nil {
		return nil, err
	}
	message := s.message("hopeless")
	message.SetTag("blue")
	message.AddProperty("number", "1")
	receipt, err := s.send(producer, message)
	if err != nil {
		return nil, err
	}
	letters, err := s.collect(dead, "hopeless")
	if err != nil {
		return nil, err
	}
	letter := letters["hopeless"]
	s.locked(func() {
		err = first(
			expect("attempts", attempts, []int32{1, 2, 3}),
			expect("message id", letter.GetMessageId(), receipt.MessageID),
			expect("tag", *letter.GetTag(), "blue"),
			expect("property", letter.GetProperties()["number"], "1"),
		)
	})
	return nil, err
}
