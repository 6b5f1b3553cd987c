package main

import (
	"context"
	"errors"

	rmq "github.com/apache/rocketmq-clients/golang/v5"
	"github.com/apache/rocketmq-clients/golang/v5/credentials"
	v2 "github.com/apache/rocketmq-clients/golang/v5/protocol/v2"
)

// access: the right key works for what its user may do; a wrong key, no key and a topic of others are refused.
func access(s *stage) (facts, error) {
	key, secret := s.arguments.accessKey, s.arguments.secretKey
	if s.arguments.accessEndpoints == "" || key == "" || secret == "" {
		return nil, errors.New("--access-endpoints, --access-key and --secret-key are needed")
	}
	config := func(key, secret string) *rmq.Config {
		config := s.config(s.group)
		config.Endpoint = s.arguments.accessEndpoints
		config.Credentials = &credentials.SessionCredentials{AccessKey: key, AccessSecret: secret}
		return config
	}
	consumer, err := s.consumerOf(config(key, secret), s.topic, rmq.SUB_ALL)
	if err != nil {
		return nil, err
	}
	sender, err := started(s, func() (rmq.Producer, error) {
		return rmq.NewProducer(config(key, secret), rmq.WithTopics(s.topic))
	})
	if err != nil {
		return nil, err
	}
	if _, err := s.send(sender, s.message("allowed")); err != nil {
		return nil, err
	}
	if _, err := s.collect(consumer, "allowed"); err != nil {
		return nil, err
	}
	attempt := func(key, secret, topic string) error {
		producer, err := rmq.NewProducer(config(key, secret), rmq.WithTopics(topic))
		if err != nil {
			return err
		}
		if err := producer.Start(); err != nil {
			return err
		}
		defer func() { _ = producer.GracefulStop() }()
		_, err = producer.Send(context.Background(), &rmq.Message{Topic: topic, Body: []byte("forbidden")})
		return err
	}
	return nil, first(
		refused("a wrong secret", v2.Code_UNAUTHORIZED, attempt(key, secret+"x", s.topic)),
		refused("an unknown user", v2.Code_UNAUTHORIZED, attempt("nobody", secret, s.topic)),
		refused("no key", v2.Code_UNAUTHORIZED, attempt("", "", s.topic)),
		refused("a topic of others", v2.Code_UNAUTHORIZED, attempt(key, secret, s.topic+"-of-others")),
	)
}
