package wal

func helperMain(args []string) int { return 2 }
