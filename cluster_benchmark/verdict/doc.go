// Package verdict puts results beside each other and says which differences between them are more than noise.
//
//	files, or the targets of one file ---> [Source] ---> [Share]: the scenarios that all have, a [Case] each
//	                                                        |
//	                 [Figures]: what is compared, and which way is better
//	                                                        |
//	                                   [Judge]: medians, spread, ratio, a [Word] ---> [Gate]: what got worse by more than allowed
//
// # Promises
//
//   - A difference counts when the Mann-Whitney U test over the rounds finds it at a level of 5 %, two-sided; the test is
//     exact up to 50 rounds a side, 25 where some are equal.
//   - With fewer than [RoundsMin] rounds on either side there is no verdict, whatever the figures.
//   - [Gate] never passes what it can't judge: too few rounds are an error, figures that can't be used a failure.
//
// # Decisions
//
// Rounds are compared, not puts. Millions of puts would make any difference significant, also that of the same program
// measured twice: what varies is the machine from one round to the next. The test assumes nothing about how.
//
// It takes the rounds for independent. Two runs at different times also differ by what the machine did meanwhile, which
// no test over their rounds can see: measure both in turns where a small difference matters.
//
// Each figure is judged by itself. Of twenty that did not change one looks changed by chance, which who prints many of
// them says.
//
// # Reading order
//
// judge.go, figure.go, share.go, gate.go; errors.go.
package verdict
