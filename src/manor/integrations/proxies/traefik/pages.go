// Package pages answers by itself: a page of ours, or a redirect. Traefik has no built-in way to do either with any status.
package pages

import (
	"context"
	"net/http"
	"os"
	"strconv"
)

// Config is one middleware's configuration.
type Config struct {
	Status     int    `json:"status"`
	File       string `json:"file"`
	Location   string `json:"location"`
	RetryAfter int    `json:"retryAfter"`
}

// CreateConfig returns the defaults.
func CreateConfig() *Config {
	return &Config{Status: http.StatusNotFound}
}

// New returns a handler that never calls the next one.
func New(_ context.Context, _ http.Handler, config *Config, _ string) (http.Handler, error) {
	return http.HandlerFunc(func(writer http.ResponseWriter, request *http.Request) {
		answer(writer, request, config)
	}), nil
}

func answer(writer http.ResponseWriter, request *http.Request, config *Config) {
	body := []byte(http.StatusText(config.Status) + "\n")
	kind := "text/plain; charset=utf-8"
	if config.File != "" {
		// Read each time: the pages are small, and a page changed by hand is shown at once.
		if page, err := os.ReadFile(config.File); err == nil {
			body, kind = page, "text/html; charset=utf-8"
		}
	}
	header := writer.Header()
	header.Set("Content-Type", kind)
	header.Set("Content-Length", strconv.Itoa(len(body)))
	if config.Location != "" {
		header.Set("Location", config.Location)
	}
	if config.RetryAfter > 0 {
		header.Set("Retry-After", strconv.Itoa(config.RetryAfter))
	}
	if config.Status >= 500 {
		header.Set("Cache-Control", "no-store")
	}
	writer.WriteHeader(config.Status)
	if request.Method != http.MethodHead {
		_, _ = writer.Write(body)
	}
}
