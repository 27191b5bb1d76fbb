def run_report(record): return "<html></html>"
def comparison_report(records, links=None): return "<html></html>"
