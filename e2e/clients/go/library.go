package main

import (
	"context"
	"time"

	rmq "github.com/apache/rocketmq-clients/golang/v5"
	"github.com/apache/rocketmq-clients/golang/v5/credentials"
	v2 "github.com/apache/rocketmq-clients/golang/v5/protocol/v2"
)

// startPause is between two attempts to start.
const startPause = 500 * time.Millisecond

// certainRefusals are codes of requests that were refused for what they are: no repetition of one can have had an effect.
var certainRefusals = [][2]int32{{40000, 40199}, {40300, 40499}, {41300, 41399}, {43100, 43199}}

type client interface {
	Start() error
	GracefulStop() error
}

// startedIn returns a client at work; the broker may still be on its way up.
func startedIn[C client](limit time.Duration, create func() (C, error)) (C, error) {
	deadline := time.Now().Add(limit)
	for {
		created, err := create()
		if err != nil {
			return created, err
		}
		if err = created.Start(); err == nil {
			return created, nil
		}
		if time.Now().After(deadline) {
			return created, err
		}
		time.Sleep(startPause)
	}
}

// config is that of the user that the command line names, if any.
func (a *arguments) config() *rmq.Config {
	user := &credentials.SessionCredentials{AccessKey: a.accessKey, AccessSecret: a.secretKey}
	return &rmq.Config{Endpoint: a.endpoints, ConsumerGroup: a.group, Credentials: user}
}

func (a *arguments) subscription() map[string]*rmq.FilterExpression {
	kind := rmq.TAG
	if a.sql {
		kind = rmq.SQL92
	}
	return map[string]*rmq.FilterExpression{a.topic: rmq.NewFilterExpressionWithType(a.filter, kind)}
}

func newProducer(a *arguments, check func(*rmq.MessageView) rmq.TransactionResolution) (rmq.Producer, error) {
	return startedIn(a.startTimeout, func() (rmq.Producer, error) {
		options := []rmq.ProducerOption{rmq.WithTopics(a.topic)}
		if check != nil {
			options = append(options, rmq.WithTransactionChecker(&rmq.TransactionChecker{Check: check}))
		}
		return rmq.NewProducer(a.config(), options...)
	})
}

func newSimpleConsumer(a *arguments) (rmq.SimpleConsumer, error) {
	return startedIn(a.startTimeout, func() (rmq.SimpleConsumer, error) {
		return rmq.NewSimpleConsumer(a.config(), rmq.WithSimpleAwaitDuration(a.wait),
			rmq.WithSimpleSubscriptionExpressions(a.subscription()))
	})
}

func newPushConsumer(a *arguments, consume func(*rmq.MessageView) rmq.ConsumerResult) (rmq.PushConsumer, error) {
	return startedIn(a.startTimeout, func() (rmq.PushConsumer, error) {
		return rmq.NewPushConsumer(a.config(), rmq.WithPushAwaitDuration(a.wait),
			rmq.WithPushConsumptionThreadCount(int32(a.inFlight)),
			rmq.WithPushSubscriptionExpressions(a.subscription()),
			rmq.WithPushMessageListener(&rmq.FuncMessageListener{Consume: consume}))
	})
}

// receive returns no messages and no error where the library takes it for an error that there is nothing.
func receive(consumer rmq.SimpleConsumer, batch int32, invisible time.Duration) ([]*rmq.MessageView, error) {
	messages, err := consumer.Receive(context.Background(), batch, invisible)
	if status, is := rmq.AsErrRpcStatus(err); is && status.Code == int32(v2.Code_MESSAGE_NOT_FOUND) {
		return nil, nil
	}
	return messages, err
}

// problem is what an error says: whether the operation certainly had no effect, and what the history tells.
func problem(err error) (certain bool, told fields) {
	told = fields{"error": err.Error()}
	if status, is := rmq.AsErrRpcStatus(err); is {
		told["code"] = status.Code
		for _, codes := range certainRefusals {
			certain = certain || codes[0] <= status.Code && status.Code <= codes[1]
		}
	}
	return certain, told
}
