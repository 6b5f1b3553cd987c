package main

import (
	"context"
	"fmt"
	"reflect"
	"sort"
	"strings"
	"sync"
	"time"

	rmq "github.com/apache/rocketmq-clients/golang/v5"
	"github.com/apache/rocketmq-clients/golang/v5/credentials"
	v2 "github.com/apache/rocketmq-clients/golang/v5/protocol/v2"
)

const (
	// How long a delivered message is invisible, and a receive waits.
	invisible = 30 * time.Second
	await     = 5 * time.Second

	lookAgain = 20 * time.Millisecond
)

// stage is what a scenario works with: names of its own, clients that are closed afterwards, and waiting that ends.
type stage struct {
	arguments *arguments
	topic     string
	group     string
	deadline  time.Time

	mutex   sync.Mutex
	clients []client
}

func newStage(parsed *arguments, name string) *stage {
	topic := parsed.topic + "-" + name
	return &stage{arguments: parsed, topic: topic, group: topic, deadline: time.Now().Add(limit)}
}

func expect(what string, found, wanted any) error {
	if !reflect.DeepEqual(found, wanted) {
		return fmt.Errorf("%s is %v instead of %v", what, found, wanted)
	}
	return nil
}

// first is the first of these errors.
func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// refused expects that the call was refused with this status code.
func refused(what string, wanted v2.Code, err error) error {
	if err == nil {
		return fmt.Errorf("%s was not refused", what)
	}
	if status, is := rmq.AsErrRpcStatus(err); is && status.Code == int32(wanted) {
		return nil
	}
	// At the start of a client the library keeps only the text.
	if strings.Contains(err.Error(), "CODE: "+wanted.String()) {
		return nil
	}
	return fmt.Errorf("%s was refused with %w instead of %v", what, err, wanted)
}

func (s *stage) config(group string) *rmq.Config {
	return &rmq.Config{
		Endpoint:      s.arguments.endpoints,
		ConsumerGroup: group,
		Credentials:   &credentials.SessionCredentials{},
	}
}

func (s *stage) producer(check func(*rmq.MessageView) rmq.TransactionResolution) (rmq.Producer, error) {
	return started(s, func() (rmq.Producer, error) {
		options := []rmq.ProducerOption{rmq.WithTopics(s.topic)}
		if check != nil {
			options = append(options, rmq.WithTransactionChecker(&rmq.TransactionChecker{Check: check}))
		}
		return rmq.NewProducer(s.config(""), options...)
	})
}

func (s *stage) consumer(expression *rmq.FilterExpression) (rmq.SimpleConsumer, error) {
	return s.consumerOf(s.config(s.group), s.topic, expression)
}

// deadLetters consumes the messages that nobody could consume.
func (s *stage) deadLetters() (rmq.SimpleConsumer, error) {
	return s.consumerOf(s.config(s.group+"-reader"), "%DLQ%"+s.group, rmq.SUB_ALL)
}

func (s *stage) consumerOf(config *rmq.Config, topic string, expression *rmq.FilterExpression) (rmq.SimpleConsumer, error) {
	return started(s, func() (rmq.SimpleConsumer, error) {
		return rmq.NewSimpleConsumer(config, rmq.WithSimpleAwaitDuration(await),
			rmq.WithSimpleSubscriptionExpressions(map[string]*rmq.FilterExpression{topic: expression}))
	})
}

func (s *stage) push(consume func(*rmq.MessageView) rmq.ConsumerResult) error {
	_, err := started(s, func() (rmq.PushConsumer, error) {
		return rmq.NewPushConsumer(s.config(s.group),
			rmq.WithPushAwaitDuration(await),
			rmq.WithPushSubscriptionExpressions(map[string]*rmq.FilterExpression{s.topic: rmq.SUB_ALL}),
			rmq.WithPushMessageListener(&rmq.FuncMessageListener{Consume: consume}))
	})
	return err
}

// started returns a client at work, which is closed with the stage.
func started[C client](s *stage, create func() (C, error)) (C, error) {
	created, err := startedIn(s.arguments.startTimeout, create)
	if err == nil {
		s.clients = append(s.clients, created)
	}
	return created, err
}

func (s *stage) message(body string) *rmq.Message {
	return &rmq.Message{Topic: s.topic, Body: []byte(body)}
}

func (s *stage) send(producer rmq.Producer, message *rmq.Message) (*rmq.SendReceipt, error) {
	receipts, err := producer.Send(context.Background(), message)
	if err != nil {
		return nil, err
	}
	return receipts[0], nil
}

// locked runs what touches things that listeners touch, too.
func (s *stage) locked(change func()) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	change()
}

// wait returns once the condition holds.
func (s *stage) wait(what func() string, condition func() bool) error {
	for {
		var holds bool
		var text string
		s.locked(func() { holds, text = condition(), what() })
		if holds {
			return nil
		}
		if time.Now().After(s.deadline) {
			return fmt.Errorf("waited in vain for %s", text)
		}
		time.Sleep(lookAgain)
	}
}

// receive returns what one call brought; it fails once the time is over.
func (s *stage) receive(consumer rmq.SimpleConsumer, batch int32, what func() string) ([]*rmq.MessageView, error) {
	if time.Now().After(s.deadline) {
		return nil, fmt.Errorf("waited in vain for %s", what())
	}
	return receive(consumer, batch, invisible)
}

func (s *stage) next(consumer rmq.SimpleConsumer, what string) (*rmq.MessageView, error) {
	for {
		messages, err := s.receive(consumer, 1, func() string { return what })
		if err != nil {
			return nil, err
		}
		if len(messages) > 0 {
			return messages[0], nil
		}
	}
}

// collect returns the messages with these bodies, each of which must come once, and nothing else.
func (s *stage) collect(consumer rmq.SimpleConsumer, wanted ...string) (map[string]*rmq.MessageView, error) {
	missing := map[string]bool{}
	for _, body := range wanted {
		missing[body] = true
	}
	got := map[string]*rmq.MessageView{}
	for len(missing) > 0 {
		messages, err := s.receive(consumer, 32, func() string { return fmt.Sprint(keys(missing)) })
		if err != nil {
			return nil, err
		}
		for _, message := range messages {
			body := string(message.GetBody())
			if !missing[body] {
				return nil, fmt.Errorf("%s came although it should not (again: %v)", body, got[body] != nil)
			}
			delete(missing, body)
			got[body] = message
			if err := consumer.Ack(context.Background(), message); err != nil {
				return nil, err
			}
		}
	}
	return got, nil
}

func keys[V any](all map[string]V) []string {
	names := make([]string, 0, len(all))
	for name := range all {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// close says goodbye without waiting for it: the library takes its time, the more so when the broker is gone.
func (s *stage) close() {
	for _, client := range s.clients {
		go func() { _ = client.GracefulStop() }()
	}
}
