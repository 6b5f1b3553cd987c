package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"time"
)

// A scenario has a topic and a consumer group of its own, both named PREFIX-SCENARIO, and must end within limit; what
// hangs in the library is left behind a little later.
const (
	limit = 25 * time.Second
	hung  = 10 * time.Second
)

// facts are figures of interest.
type facts map[string]any

type scene func(*stage) (facts, error)

var scenes = map[string]scene{
	"normal":           normal,
	"async":            asynchronous,
	"one-way":          oneWay,
	"priority":         priority,
	"delay":            delay,
	"recall":           recall,
	"commit":           commit,
	"rollback":         rollback,
	"check-back":       checkBack,
	"tag":              tag,
	"sql":              sql,
	"push":             push,
	"simple":           simple,
	"fifo":             fifo,
	"fifo-dead-letter": fifoDeadLetter,
	"dead-letter":      deadLetter,
	"access":           access,
}

// unsupported says why this library cannot do it.
type unsupported string

func (reason unsupported) Error() string {
	return string(reason)
}

// runScenarios plays one after the other, prints a JSON line for each, and returns whether none failed.
func runScenarios(parsed *arguments) bool {
	well := true
	for _, name := range parsed.names {
		began := time.Now()
		told := inTime(parsed, name)
		told["scenario"] = name
		told["seconds"] = math.Round(time.Since(began).Seconds()*100) / 100
		line, err := json.Marshal(told)
		if err != nil {
			panic(err)
		}
		fmt.Fprintln(os.Stdout, string(line))
		well = well && told["outcome"] != "failed"
	}
	return well
}

func inTime(parsed *arguments, name string) facts {
	ended := make(chan facts, 1)
	go func() { ended <- play(parsed, name) }()
	select {
	case told := <-ended:
		return told
	case <-time.After(limit + hung):
		return facts{"outcome": "failed", "reason": fmt.Sprintf("hangs in the library after %v", limit+hung)}
	}
}

func play(parsed *arguments, name string) (told facts) {
	scene, known := scenes[name]
	if !known {
		return facts{"outcome": "failed", "reason": "this program does not know the scenario"}
	}
	stage := newStage(parsed, name)
	defer stage.close()
	defer func() {
		if problem := recover(); problem != nil {
			told = facts{"outcome": "failed", "reason": fmt.Sprint("panic: ", problem)}
		}
	}()
	told, err := scene(stage)
	var reason unsupported
	switch {
	case errors.As(err, &reason):
		return facts{"outcome": "unsupported", "reason": reason.Error()}
	case err != nil:
		return facts{"outcome": "failed", "reason": err.Error()}
	case told == nil:
		told = facts{}
	}
	told["outcome"] = "ok"
	return told
}
