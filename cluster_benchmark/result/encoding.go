package result

import (
	"encoding/json"
	"fmt"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// fields is a result without its methods, so that encoding it does not come back to them.
type fields Result

// MarshalJSON returns the line with the histogram in it.
func (r Result) MarshalJSON() ([]byte, error) {
	text, err := encodeHistogram(r.Histogram)
	if err != nil {
		return nil, fmt.Errorf("histogram: %w", err)
	}
	return json.Marshal(struct {
		*fields
		Histogram string `json:"histogram,omitempty"`
	}{(*fields)(&r), text})
}

// UnmarshalJSON reads a line and its histogram.
func (r *Result) UnmarshalJSON(data []byte) error {
	line := struct {
		*fields
		Histogram string `json:"histogram"`
	}{fields: (*fields)(r)}
	if err := json.Unmarshal(data, &line); err != nil {
		return err
	}
	var err error
	if r.Histogram, err = decodeHistogram(line.Histogram); err != nil {
		return fmt.Errorf("histogram: %w", err)
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
