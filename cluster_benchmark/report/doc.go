// Package report writes results as one HTML file that needs nothing else: no server, no network, no other file.
//
//	results of files -> groups: the rounds of a scenario on a target
//	                       |
//	     page (data.go)    a row each, curve, series, stages, what it was measured with, safety
//	                       |
//	     assets/page.html  + page.css + page.js + uPlot -> one file
//
// # Promises
//
//   - The file loads nothing: a content security policy in it forbids that. What is in it as text is escaped.
//   - Figures are medians over the rounds, as in the table of a run. Curves of latency by percentile are of all rounds
//     together; what goes over time is the round whose put/s is the median.
//   - All figures stand in tables, so that they can be read without script; charts are drawn from the same data.
//   - It is light or dark as the reader's system is, until told otherwise; it fits a phone; everything that can be done with a
//     mouse can be done with a keyboard.
//   - What was done to a cluster under load stands in a table, every round, and as bands over time.
//   - Results that can't be used are shown as such, with the reason.
//
// # Decisions
//
//   - uPlot draws the charts: small enough to be in every file (50 kB), without dependencies of its own. It lies in
//     assets/uplot as it was released (1.6.32), with its licence.
//   - Percentiles have the axis of HdrHistogram's plotters, logarithmic in 1/(1-q), since it is the last nines that differ.
//
// # Reading order
//
// report.go, the page; data.go and events.go, what is in it; assets, how it looks.
package report
