package result

import (
	"encoding/json"
	"fmt"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// fields is a result without its methods, so that encoding it does not come back to them.
type fields Result

// MarshalJSON returns the line with the histograms in it.
func (r Result) MarshalJSON() ([]byte, error) {
	text, err := encodeHistogram(r.Histogram)
	if err != nil {
		return nil, fmt.Errorf("histogram: %w", err)
	}
	stages := map[string]string{}
	for name, h := range r.StageHistograms {
		if stages[name], err = encodeHistogram(h); err != nil {
			return nil, fmt.Errorf("stage_histograms: %s: %w", name, err)
		}
	}
	return json.Marshal(struct {
		*fields
		Histogram string            `json:"histogram,omitempty"`
		Stages    map[string]string `json:"stage_histograms,omitempty"`
	}{(*fields)(&r), text, stages})
}

// UnmarshalJSON reads a line and its histograms.
func (r *Result) UnmarshalJSON(data []byte) error {
	line := struct {
		*fields
		Histogram string            `json:"histogram"`
		Stages    map[string]string `json:"stage_histograms"`
	}{fields: (*fields)(r)}
	if err := json.Unmarshal(data, &line); err != nil {
		return err
	}
	var err error
	if r.Histogram, err = decodeHistogram(line.Histogram); err != nil {
		return fmt.Errorf("histogram: %w", err)
	}
	r.StageHistograms = nil
	if len(line.Stages) > 0 {
		r.StageHistograms = map[string]*hdrhistogram.Histogram{}
	}
	for name, text := range line.Stages {
		if r.StageHistograms[name], err = decodeHistogram(text); err != nil {
			return fmt.Errorf("stage_histograms: %s: %w", name, err)
		}
	}
	return nil
}

// encodeHistogram returns the base64 of HdrHistogram's V2 compressed encoding, as its readers in every language take it;
// "" for nil.
func encodeHistogram(h *hdrhistogram.Histogram) (string, error) {
	if h == nil {
		return "", nil
	}
	text, err := h.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
	return string(text), err
}

// decodeHistogram returns nil for "".
func decodeHistogram(text string) (*hdrhistogram.Histogram, error) {
	if text == "" {
		return nil, nil
	}
	return hdrhistogram.Decode([]byte(text))
}
