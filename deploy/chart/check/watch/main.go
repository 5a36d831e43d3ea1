// Is Prometheus to whoever brings the samples: its storage, its engine and its rules, without its clock.
//
//	go run ./watch ../../monitoring/alerts.yaml
//
// Each line of the input is a request as JSON, and each has its line of answer. A scrape has `at` (Unix seconds) and
// `targets`; its samples are stored, the rules are evaluated at that moment, and `firing` has the alerts that fire with
// their summaries. A request with `queries` is answered by how many series each of them has `at` that moment.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"time"

	"github.com/prometheus/common/promslog"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/rules"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
)

const (
	each       = 30 * time.Second
	samplesMax = 10_000_000
	lineMax    = 64 << 20
)

type target struct {
	Instance, Job, Text string
	Up                  bool
}

type request struct {
	At      float64
	Targets []target
	Queries map[string]string
}

type answer struct {
	Firing map[string][]string `json:"firing,omitempty"`
	Series map[string]int      `json:"series,omitempty"`
	Error  string              `json:"error,omitempty"`
}

// watch is what a Prometheus keeps from one scrape to the next; seen are the series of each instance's last one.
type watch struct {
	db     *tsdb.DB
	engine *promql.Engine
	groups []*rules.Group
	seen   map[string]map[string]labels.Labels
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: watch ALERTS.yaml")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(file string, requests io.Reader, answers io.Writer) error {
	folder, err := os.MkdirTemp("", "watch-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	watching, err := open(folder, file)
	if err != nil {
		return err
	}
	defer watching.db.Close()
	lines, out := bufio.NewScanner(requests), json.NewEncoder(answers)
	lines.Buffer(nil, lineMax)
	for lines.Scan() {
		var asked request
		said, err := answer{}, json.Unmarshal(lines.Bytes(), &asked)
		if err == nil && asked.Queries != nil {
			said.Series, err = watching.query(asked)
		} else if err == nil {
			said.Firing, err = watching.scraped(asked)
		}
		if err != nil {
			said.Error = err.Error()
		}
		if err := out.Encode(said); err != nil {
			return err
		}
	}
	return lines.Err()
}

func open(folder, file string) (*watch, error) {
	db, err := tsdb.Open(folder, promslog.NewNopLogger(), nil, tsdb.DefaultOptions(), nil)
	if err != nil {
		return nil, err
	}
	engine := promql.NewEngine(promql.EngineOpts{MaxSamples: samplesMax, Timeout: time.Minute})
	manager := rules.NewManager(&rules.ManagerOptions{
		QueryFunc:  rules.EngineQueryFunc(engine, db),
		Appendable: db,
		Queryable:  db,
		Context:    context.Background(),
		NotifyFunc: func(context.Context, string, ...*rules.Alert) {},
		Logger:     promslog.NewNopLogger(),
	})
	groups, errs := manager.LoadGroups(each, labels.EmptyLabels(), "", nil, false, file)
	if len(errs) > 0 {
		return nil, errors.Join(append(errs, db.Close())...)
	}
	found := watch{db: db, engine: engine, seen: map[string]map[string]labels.Labels{}}
	for _, group := range groups {
		found.groups = append(found.groups, group)
	}
	return &found, nil
}

// scraped stores what the targets said, and gives the alerts that fire then.
func (w *watch) scraped(asked request) (map[string][]string, error) {
	at := time.UnixMilli(int64(asked.At * 1000))
	into := w.db.Appender(context.Background())
	for _, one := range asked.Targets {
		if err := w.store(into, one, at.UnixMilli()); err != nil {
			return nil, errors.Join(fmt.Errorf("%s: %w", one.Instance, err), into.Rollback())
		}
	}
	if err := into.Commit(); err != nil {
		return nil, err
	}
	firing := map[string][]string{}
	for _, group := range w.groups {
		group.Eval(context.Background(), at)
		for _, rule := range group.AlertingRules() {
			if err := rule.LastError(); err != nil {
				return nil, err
			}
			for _, alert := range rule.ActiveAlerts() {
				if alert.State == rules.StateFiring {
					firing[rule.Name()] = append(firing[rule.Name()], alert.Annotations.Get("summary"))
				}
			}
		}
	}
	return firing, nil
}

// store appends one target's samples and `up`. Series that it has no more end, as they do for Prometheus.
func (w *watch) store(into storage.Appender, from target, at int64) error {
	now := map[string]labels.Labels{}
	add := func(series labels.Labels, number float64) error {
		named := labels.NewBuilder(series).Set("job", from.Job).Set("instance", from.Instance).Labels()
		now[named.String()] = named
		_, err := into.Append(0, named, at, number)
		return err
	}
	if from.Up {
		if err := parsed(from.Text, add); err != nil {
			return err
		}
	}
	for name, series := range w.seen[from.Instance] {
		if _, there := now[name]; !there && series.Get("__name__") != "up" {
			if _, err := into.Append(0, series, at, math.Float64frombits(value.StaleNaN)); err != nil {
				return err
			}
		}
	}
	w.seen[from.Instance] = now
	up := map[bool]float64{true: 1}[from.Up]
	return add(labels.FromStrings("__name__", "up"), up)
}

func parsed(text string, add func(labels.Labels, float64) error) error {
	reads, err := textparse.New([]byte(text), "text/plain", nil, textparse.ParserOptions{})
	if err != nil {
		return err
	}
	for {
		entry, err := reads.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if entry != textparse.EntrySeries {
			continue
		}
		var series labels.Labels
		reads.Labels(&series)
		_, _, number := reads.Series()
		if err := add(series, number); err != nil {
			return err
		}
	}
}

// query counts the series of each query.
func (w *watch) query(asked request) (map[string]int, error) {
	counts := map[string]int{}
	for name, text := range asked.Queries {
		query, err := w.engine.NewInstantQuery(context.Background(), w.db, nil, text, time.UnixMilli(int64(asked.At*1000)))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		result := query.Exec(context.Background())
		if result.Err != nil {
			return nil, fmt.Errorf("%s: %w", name, result.Err)
		}
		if vector, is := result.Value.(promql.Vector); is {
			counts[name] = len(vector)
		} else if result.Value.Type() == parser.ValueTypeScalar {
			counts[name] = 1
		}
		query.Close()
	}
	return counts, nil
}
