package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	rmq "github.com/apache/rocketmq-clients/golang/v5"
	v2 "github.com/apache/rocketmq-clients/golang/v5/protocol/v2"
	"google.golang.org/grpc"
)

// What the library knows but does not tell: the queue of a message, the number of requests for one send, and that an
// acknowledgement was refused. It is seen where requests leave and answers come, of which nothing is changed.

type triesKey struct{}
type refusalKey struct{}

// queues of messages that came, by receipt handle, until they are asked for.
var queues sync.Map

// observe is for all clients that are made afterwards.
func observe() {
	create := rmq.NewRpcClient
	rmq.NewRpcClient = func(target string, options ...rmq.RpcClientOption) (rmq.RpcClient, error) {
		interceptors := rmq.WithDialOptions(grpc.WithChainUnaryInterceptor(observeCall), grpc.WithChainStreamInterceptor(observeStream))
		return create(target, append(options, rmq.WithRpcClientConnOption(interceptors))...)
	}
}

// sendCounted sends with the context that counts requests.
func sendCounted(send func(context.Context) ([]*rmq.SendReceipt, error)) (*rmq.SendReceipt, int32, error) {
	var tries atomic.Int32
	receipts, err := send(context.WithValue(context.Background(), triesKey{}, &tries))
	if err != nil {
		return nil, tries.Load(), err
	}
	return receipts[0], tries.Load(), nil
}

// acknowledge returns the error, too, that the library keeps to itself.
func acknowledge(consumer rmq.SimpleConsumer, message *rmq.MessageView) error {
	var refusal error
	err := consumer.Ack(context.WithValue(context.Background(), refusalKey{}, &refusal), message)
	if err != nil {
		return err
	}
	return refusal
}

// takeQueue is the queue that the message came from, as BROKER/NUMBER.
func takeQueue(message *rmq.MessageView) any {
	queue, _ := queues.LoadAndDelete(message.GetReceiptHandle())
	return queue
}

func observeCall(ctx context.Context, method string, request, answer any, connection *grpc.ClientConn,
	invoke grpc.UnaryInvoker, options ...grpc.CallOption) error {
	if _, is := request.(*v2.SendMessageRequest); is {
		if tries, counted := ctx.Value(triesKey{}).(*atomic.Int32); counted {
			tries.Add(1)
		}
	}
	err := invoke(ctx, method, request, answer, connection, options...)
	if acked, is := answer.(*v2.AckMessageResponse); is && err == nil {
		if refusal, asked := ctx.Value(refusalKey{}).(*error); asked {
			*refusal = refusalIn(acked)
		}
	}
	return err
}

// refusalIn is of the one message that was acknowledged.
func refusalIn(answer *v2.AckMessageResponse) error {
	status := answer.GetStatus()
	for _, entry := range answer.GetEntries() {
		status = entry.GetStatus()
	}
	if status.GetCode() == v2.Code_OK {
		return nil
	}
	return &rmq.ErrRpcStatus{Code: int32(status.GetCode()), Message: status.GetMessage()}
}

func observeStream(ctx context.Context, description *grpc.StreamDesc, connection *grpc.ClientConn, method string,
	open grpc.Streamer, options ...grpc.CallOption) (grpc.ClientStream, error) {
	stream, err := open(ctx, description, connection, method, options...)
	if err != nil {
		return nil, err
	}
	return &observedStream{ClientStream: stream}, nil
}

type observedStream struct {
	grpc.ClientStream
	broker string
}

func (s *observedStream) SendMsg(message any) error {
	if request, is := message.(*v2.ReceiveMessageRequest); is {
		s.broker = request.GetMessageQueue().GetBroker().GetName()
	}
	return s.ClientStream.SendMsg(message)
}

func (s *observedStream) RecvMsg(message any) error {
	err := s.ClientStream.RecvMsg(message)
	if response, is := message.(*v2.ReceiveMessageResponse); is && err == nil {
		if properties := response.GetMessage().GetSystemProperties(); properties != nil {
			queues.Store(properties.GetReceiptHandle(), fmt.Sprintf("%s/%d", s.broker, properties.GetQueueId()))
		}
	}
	return err
}
