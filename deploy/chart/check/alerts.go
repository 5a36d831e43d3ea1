package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/common/promslog"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/rules"
	"sigs.k8s.io/yaml"
)

const (
	each      = 30 * time.Second
	healthFor = 3 * time.Hour
)

type series map[string]string

type alertCase struct {
	Alert, Without, Summary string
	Series                  series
	Silent, Fires           model.Duration
}

type alertCases struct {
	Healthy series
	Cases   []alertCase
}

// fired are the alerts that fire, each with its summaries.
type fired map[string][]string

// alerts evaluates alerts.yaml over the series of alerts.cases.yaml; what is not as it says there, in sentences.
func alerts(folder string) (problems []string) {
	text, err := os.ReadFile(filepath.Join(folder, "alerts.cases.yaml"))
	var told alertCases
	if err == nil {
		err = yaml.UnmarshalStrict(text, &told)
	}
	if err != nil {
		return []string{"alerts.cases.yaml: " + err.Error()}
	}
	file := filepath.Join(folder, "alerts.yaml")
	names, err := evaluated(file, told.Healthy, func(at time.Duration, firing fired) {
		if len(firing) > 0 {
			problems = append(problems, fmt.Sprintf("healthy: %v after %v", firing, at))
		}
	}, healthFor)
	if err != nil {
		return append(problems, err.Error())
	}
	for _, one := range told.Cases {
		problems = append(problems, one.tried(file, told.Healthy)...)
		names = slices.DeleteFunc(names, func(name string) bool { return name == one.Alert })
	}
	for _, name := range names {
		problems = append(problems, name+": alerts.cases.yaml has no case of it")
	}
	return problems
}

// tried evaluates one case until its alert has to fire, or as long as it has to be silent.
func (one alertCase) tried(file string, healthy series) (problems []string) {
	silent, fires := time.Duration(one.Silent), time.Duration(one.Fires)
	_, err := evaluated(file, one.over(healthy), func(at time.Duration, firing fired) {
		switch {
		case len(problems) > 0: // the first says enough
		case at <= silent && len(firing) > 0:
			problems = append(problems, fmt.Sprintf("%s: %v after %v already", one.Alert, firing, at))
		case fires > 0 && at == fires && !maps.EqualFunc(firing, fired{one.Alert: {one.Summary}}, slices.Equal):
			problems = append(problems, fmt.Sprintf("%s: %v after %v", one.Alert, firing, at))
		}
	}, max(silent, fires))
	if err != nil {
		problems = append(problems, fmt.Sprintf("%s: %v", one.Alert, err))
	}
	return problems
}

// over puts the series of a case over the healthy ones.
func (one alertCase) over(healthy series) series {
	all := maps.Clone(healthy)
	maps.DeleteFunc(all, func(name, _ string) bool {
		return one.Without != "" && strings.HasPrefix(name, one.Without)
	})
	maps.Copy(all, one.Series)
	return all
}

// evaluated lets Prometheus evaluate the alerts each 30 s, and gives what fires to `look`; the names of all alerts.
func evaluated(file string, given series, look func(time.Duration, fired), until time.Duration) ([]string, error) {
	load := fmt.Sprintf("load %v\n", model.Duration(each))
	for name, values := range given {
		load += fmt.Sprintf("  %s %s\n", name, values)
	}
	suite, err := promqltest.NewLazyLoader(load, promqltest.LazyLoaderOpts{})
	if err != nil {
		return nil, err
	}
	defer suite.Close()
	manager := rules.NewManager(&rules.ManagerOptions{
		QueryFunc:  rules.EngineQueryFunc(suite.QueryEngine(), suite.Storage()),
		Appendable: suite.Storage(),
		Context:    context.Background(),
		NotifyFunc: func(context.Context, string, ...*rules.Alert) {},
		Logger:     promslog.NewNopLogger(),
	})
	groups, errs := manager.LoadGroups(each, labels.EmptyLabels(), "", nil, false, file)
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	var names []string
	for _, group := range groups {
		for _, rule := range group.AlertingRules() {
			names = append(names, rule.Name())
		}
	}
	for at := time.Duration(0); at <= until; at += each {
		suite.WithSamplesTill(time.Unix(0, 0).Add(at), func(failed error) {
			err = errors.Join(err, failed)
			firing := fired{}
			for _, group := range groups {
				group.Eval(suite.Context(), time.Unix(0, 0).Add(at))
				for _, rule := range group.AlertingRules() {
					err = errors.Join(err, rule.LastError())
					for _, alert := range rule.ActiveAlerts() {
						if alert.State == rules.StateFiring {
							firing[rule.Name()] = append(firing[rule.Name()], alert.Annotations.Get("summary"))
						}
					}
				}
			}
			look(at, firing)
		})
	}
	return names, err
}
