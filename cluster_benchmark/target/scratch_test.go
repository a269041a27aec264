package target
import ("testing";"context";"time";"runtime/debug"
"github.com/millrace/millrace/cluster_benchmark/load"
"github.com/millrace/millrace/cluster_benchmark/setting")
func TestScratch(t *testing.T){
 debug.SetGCPercent(400)
 for _, name := range []string{"ceiling-disk","ceiling-disk"} {
 lockstep = !lockstep
 for _, ci := range [][2]int{{64,1},{256,1},{1024,1},{256,16}} {
  pl := 128
  tg, err := Open(context.Background(), name, setting.Scenario{Nodes:3}, t.TempDir())
  if err!=nil {t.Fatal(err)}
  r := load.Start(load.Config{Clients:ci[0],Inflight:ci[1],Batch:1,Payload:pl,Warmup:300*time.Millisecond,Duration:time.Second}, tg)
  <-r.Warm(); c0 := tg.Counters(); <-r.Over(); c1 := tg.Counters().Sub(c0)
  if !r.Drain(context.Background()) {t.Fatal()}
  m := r.Measurement()
  t.Logf("%-16s %4dx%-3d %9.0f/s mean %6.1f p50 %6.1f p99 %7.1f max %7.1f us  e/f %.1f syncs/s %d err %v ops/hist %d %d", name, ci[0],ci[1], float64(m.Ops)/m.Duration.Seconds(), m.Latency.Mean()/1e3, float64(m.Latency.ValueAtQuantile(50))/1e3,float64(m.Latency.ValueAtQuantile(99))/1e3,float64(m.Latency.Max())/1e3, float64(c1.Entries)/float64(c1.Frames), c1.WALSyncs, m.FirstError, m.Ops, m.Latency.TotalCount())
  if err := tg.Close(); err!=nil {t.Fatal(err)}
 }}
}
