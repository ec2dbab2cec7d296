set title "Client memory while it reads a million rows" textcolor "#1f2328"
set xlabel "seconds" textcolor "#1f2328"
set ylabel "MB" textcolor "#1f2328"
set xrange [0:]
set yrange [0:]
plot data index "memory SELECT *" using 1:2 with lines linewidth 2 linecolor rgb peer_a title "SELECT *", \
     ''   index "memory page()"   using 1:2 with lines linewidth 2 linecolor rgb ours_a title "page(), 1,000 rows a page"
