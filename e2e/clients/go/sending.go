package main

import (
	"context"
	"fmt"
	"strings"

	rmq "github.com/apache/rocketmq-clients/golang/v5"
)

// normal: each send is answered before the next; everything that was said about a message arrives with it.
func normal(s *stage) (facts, error) {
	consumer, err := s.consumer(rmq.SUB_ALL)
	if err != nil {
		return nil, err
	}
	producer, err := s.producer(nil)
	if err != nil {
		return nil, err
	}
	sent := map[string]string{}
	for number := range 10 {
		body := fmt.Sprintf("normal-%d", number)
		message := s.message(body)
		message.SetTag("blue")
		message.SetKeys(body)
		message.AddProperty("number", fmt.Sprint(number))
		receipt, err := s.send(producer, message)
		if err != nil {
			return nil, err
		}
		sent[body] = receipt.MessageID
	}
	messages, err := s.collect(consumer, keys(sent)...)
	if err != nil {
		return nil, err
	}
	for body, message := range messages {
		number := strings.TrimPrefix(body, "normal-")
		err := first(
			expect("message id of "+body, message.GetMessageId(), sent[body]),
			expect("tag of "+body, *message.GetTag(), "blue"),
			expect("keys of "+body, message.GetKeys(), []string{body}),
			expect("properties of "+body, message.GetProperties(), map[string]string{"number": number}),
			expect("attempt of "+body, message.GetDeliveryAttempt(), int32(1)),
		)
		if err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// asynchronous: many sends under way at once.
func asynchronous(s *stage) (facts, error) {
	consumer, err := s.consumer(rmq.SUB_ALL)
	if err != nil {
		return nil, err
	}
	producer, err := s.producer(nil)
	if err != nil {
		return nil, err
	}
	type answer struct {
		id  string
		err error
	}
	answers := make(chan answer, 32)
	bodies := map[string]bool{}
	for number := range cap(answers) {
		body := fmt.Sprintf("async-%d", number)
		bodies[body] = true
		producer.SendAsync(context.Background(), s.message(body),
			func(_ context.Context, receipts []*rmq.SendReceipt, err error) {
				if err != nil {
					answers <- answer{err: err}
					return
				}
				answers <- answer{id: receipts[0].MessageID}
			})
	}
	ids := map[string]bool{}
	for range cap(answers) {
		answer := <-answers
		if answer.err != nil {
			return nil, answer.err
		}
		ids[answer.id] = true
	}
	if err := expect("number of message ids", len(ids), len(bodies)); err != nil {
		return nil, err
	}
	_, err = s.collect(consumer, keys(bodies)...)
	return nil, err
}

func oneWay(*stage) (facts, error) {
	return nil, unsupported("the library has no send without an answer")
}

// priority: of what waits, the larger priority comes first.
func priority(s *stage) (facts, error) {
	consumer, err := s.consumer(rmq.SUB_ALL)
	if err != nil {
		return nil, err
	}
	producer, err := s.producer(nil)
	if err != nil {
		return nil, err
	}
	for _, level := range []int32{1, 9, 5} {
		message := s.message(fmt.Sprintf("priority-%d", level))
		if err := message.SetPriority(level); err != nil {
			return nil, err
		}
		if _, err := s.send(producer, message); err != nil {
			return nil, err
		}
	}
	var came []string
	for len(came) < 3 {
		message, err := s.next(consumer, fmt.Sprintf("more than %v", came))
		if err != nil {
			return nil, err
		}
		came = append(came, string(message.GetBody()))
		if err := consumer.Ack(context.Background(), message); err != nil {
			return nil, err
		}
	}
	return nil, expect("the order", came, []string{"priority-9", "priority-5", "priority-1"})
}
