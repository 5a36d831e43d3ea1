// Checks what `helm install` would send, with the libraries of Helm, Kubernetes and Prometheus themselves.
//
//	go run . ../ ../../monitoring values.yaml...
//
// The chart is linted, and rendered with each file of values. Each document is decoded strictly by the types of
// Kubernetes: a field that does not exist, or has another type, is an error. Prometheus evaluates the alerts over the
// series of alerts.cases.yaml: each has to fire, alone, and none while all is well.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/lint"
	"helm.sh/helm/v3/pkg/lint/support"
	"helm.sh/helm/v3/pkg/releaseutil"
	"k8s.io/apimachinery/pkg/runtime"
	serializer "k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/client-go/kubernetes/scheme"
)

// Kinds of other makers, whose types are not here; tests of the project look at them by structure.
var foreign = []string{"ScaledObject", "ServiceMonitor", "PrometheusRule"}

func main() {
	if len(os.Args) < 4 {
		fmt.Fprintln(os.Stderr, "usage: check CHART MONITORING VALUES...")
		os.Exit(2)
	}
	problems := append(readable(os.Args[2]), alerts(os.Args[2])...)
	for _, file := range os.Args[3:] {
		problems = append(problems, chart(os.Args[1], file)...)
	}
	for _, problem := range problems {
		fmt.Fprintln(os.Stderr, problem)
	}
	if len(problems) > 0 {
		os.Exit(1)
	}
	fmt.Println("chart: ok")
}

// chart lints and renders with one file of values; what is wrong, in sentences.
func chart(folder, file string) (problems []string) {
	values, err := chartutil.ReadValuesFile(file)
	if err != nil {
		return []string{err.Error()}
	}
	for _, message := range lint.All(folder, values, "creditwell", true).Messages {
		if message.Severity >= support.WarningSev {
			problems = append(problems, fmt.Sprintf("lint: %s", message))
		}
	}
	loaded, err := loader.Load(folder)
	if err != nil {
		return append(problems, err.Error())
	}
	release := chartutil.ReleaseOptions{Name: "creditwell", Namespace: "creditwell", Revision: 1, IsInstall: true}
	all, err := chartutil.ToRenderValues(loaded, values, release, chartutil.DefaultCapabilities)
	if err != nil {
		return append(problems, err.Error())
	}
	rendered, err := engine.Render(loaded, all)
	if err != nil {
		return append(problems, err.Error())
	}
	count := 0
	for name, text := range rendered {
		if filepath.Ext(name) != ".yaml" {
			continue
		}
		for _, document := range releaseutil.SplitManifests(text) {
			if strings.TrimSpace(document) == "" {
				continue
			}
			count++
			if os.Getenv("PRINT") != "" {
				fmt.Println(document)
			}
			if err := strictly(document); err != nil {
				problems = append(problems, fmt.Sprintf("%s with %s: %v\n%s", name, file, err, document))
			}
		}
	}
	fmt.Printf("%s: %d documents\n", file, count)
	return problems
}

func strictly(document string) error {
	options := serializer.SerializerOptions{Yaml: true, Strict: true}
	decoder := serializer.NewSerializerWithOptions(serializer.DefaultMetaFactory, scheme.Scheme, scheme.Scheme, options)
	_, kind, err := decoder.Decode([]byte(document), nil, nil)
	if err != nil && runtime.IsNotRegisteredError(err) && kind != nil {
		for _, known := range foreign {
			if kind.Kind == known {
				return nil
			}
		}
	}
	return err
}

// readable reads alerts and the queries of dashboards; what is wrong, in sentences.
func readable(folder string) (problems []string) {
	text, err := os.ReadFile(filepath.Join(folder, "alerts.yaml"))
	if err != nil {
		return []string{err.Error()}
	}
	_, errs := rulefmt.Parse(text, false, model.UTF8Validation)
	for _, err := range errs {
		problems = append(problems, "alerts.yaml: "+err.Error())
	}
	files, _ := filepath.Glob(filepath.Join(folder, "dashboards", "*.json"))
	for _, file := range files {
		problems = append(problems, dashboard(file)...)
	}
	return problems
}

func dashboard(file string) (problems []string) {
	var found struct {
		Panels []struct{ Targets []struct{ Expr string } }
	}
	text, err := os.ReadFile(file)
	if err == nil {
		err = json.NewDecoder(bytes.NewReader(text)).Decode(&found)
	}
	if err != nil || len(found.Panels) == 0 {
		return []string{fmt.Sprintf("%s: no dashboard: %v", file, err)}
	}
	for _, panel := range found.Panels {
		for _, target := range panel.Targets {
			if _, err := parser.ParseExpr(strings.ReplaceAll(target.Expr, "$__rate_interval", "5m")); err != nil {
				problems = append(problems, fmt.Sprintf("%s: %v", file, err))
			}
		}
	}
	return problems
}
