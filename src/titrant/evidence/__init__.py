"""What each trick was worth: paired arms, equally tuned, judged on rows that no choice has seen.

arms         recipes that differ in one trick, and the candidates for what is tuned again in each
training     trains arms in populations and judges them; what a step of each costs
statistics   from paired differences to intervals, error rates and verdicts
ablation     the whole study within its time: costs, tuning, looks, effects
response     the curve of one dose
records      what a study leaves behind
"""
